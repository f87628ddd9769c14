-- Write an endpoint's override or take it back, if it is still the one that the caller had read, and log the transition.
-- The version of its record moves, so that a decision in flight is refused, and it falls due for re-evaluation, its pool for
-- weighing. An override that is already so is left alone, so that a call may be repeated.
-- @include times dirty version write
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
local now = now_ms()
replaceable({[4] = 'zset', [5] = 'hash', [6] = 'zset'})
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
move_version(KEYS[5], ARGV[1], now)
redis.call('ZADD', KEYS[6], at_once(now), ARGV[1])
write('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'd', ARGV[4])
write('RPUSH', KEYS[7], ARGV[4])
redis.call('LTRIM', KEYS[7], -ARGV[7], -1)
mark_dirty(KEYS[4], ARGV[5], now)
return 1
