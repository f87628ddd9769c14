-- Write an endpoint's override or take it back, log the transition, let the pool fall due for weighing.
-- @include times dirty
--
-- KEYS  1 spec   2 ovr   3 events   4 dirty
-- ARGV  1 id   2 override, '' to take it back   3 transition   4 pool   5 cap of events
-- Returns 1, or 0 when there is no such endpoint. An override that is already so is not logged again.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') == ARGV[2] then
  return 1
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'd', ARGV[3])
mark_dirty(KEYS[4], ARGV[4], now_ms())
return 1
