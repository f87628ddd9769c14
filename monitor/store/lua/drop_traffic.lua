-- Take away what is known and reported of a pool's traffic, and the pool from the queue, if the lease is still ours.
--
-- KEYS  1 traffic   2 reports   3 the queue
-- ARGV  1 pool   2 token_ms
-- Returns 1, or 0 when the lease is not ours any more.
if tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or 0) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
