-- Write an endpoint's override or take it back, if it is still the one that the caller had read, and log the transition.
-- The version of its record moves, so that a decision in flight is refused, and it falls due for re-evaluation, its pool for
-- weighing. An override that is already so is left alone, so that a call may be repeated.
--
-- KEYS  1 spec   2 ovr   3 events   4 dirty   5 rec   6 reevaluate   7 its own log   8 members of its pool
-- ARGV  1 id   2 SHA-1 of the override that was read or ''   3 override, '' to take it back   4 transition   5 pool
--       6 cap of events   7 cap of an own log
-- Returns 1, 0 when there is no such endpoint in this pool, -1 when the override is another.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 or redis.call('SISMEMBER', KEYS[8], ARGV[1]) == 0 then
  return 0
end
local held = redis.call('HGET', KEYS[2], ARGV[1])
if (held or '') == ARGV[3] then
  return 1
end
if (held and redis.sha1hex(held) or '') ~= ARGV[2] then
  return -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local even = now - now % 2 -- a due time: odd scores are tokens of leases
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
local record = redis.call('HGET', KEYS[5], ARGV[1]) or ''
local version = string.match(record, '^%d%d%d%d%d%d%d%d%d%d%d%d%d')
local body = version and string.sub(record, 14) or record
redis.call('HSET', KEYS[5], ARGV[1], string.format('%013d', math.max((tonumber(version) or 0) + 1, now)) .. body)
redis.call('ZADD', KEYS[6], even, ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'd', ARGV[4])
redis.call('RPUSH', KEYS[7], ARGV[4])
redis.call('LTRIM', KEYS[7], -ARGV[7], -1)
-- A mark always changes the score, so that whoever is weighing from an earlier reading cannot take it away with his own.
local marked = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[5]) or nil)
redis.call('ZADD', KEYS[4], marked and math.min(even, marked - 2 + marked % 2) or even, ARGV[5])
return 1
