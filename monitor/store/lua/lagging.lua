-- Find the pools that seem to lag in one slot: no result vouches for them any more, or they have been due for publishing for too long.
--
-- KEYS  1 judged   2 dirty
-- ARGV  1 ttl_ms   2 most names of each
-- Returns the server's time, the pools without a result, the pools that wait.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {
  now,
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, ARGV[2]),
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. now - ARGV[1], 'LIMIT', 0, ARGV[2]),
}
