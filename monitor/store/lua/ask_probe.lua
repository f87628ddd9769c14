-- Let an endpoint fall due at once, if its record is still the one that the caller had read. A lease that runs is left alone, and so is
-- an endpoint that is due already: asked twice, it is probed once. Its grid stays as it is.
-- @include times version write
--
-- KEYS  1 due   2 plan   3 rec
-- ARGV  1 id   2 version held (13 digits, -000000000001 for one that cannot be read)
-- Returns 0 DUE, 1 IN_FLIGHT, 2 STALE, 3 UNPLANNED: it is paused, or not registered.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then
  return 3
end
if version_of(redis.call('HGET', KEYS[3], ARGV[1])) ~= ARGV[2] then
  return 2
end
local now, score = now_ms(), tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or nil)
if score and is_lease(score) and score > now then
  return 1
end
if not score or score > now then
  write('ZADD', KEYS[1], at_once(now), ARGV[1])
end
return 0
