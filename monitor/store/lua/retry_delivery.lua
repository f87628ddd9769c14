-- Write a delivery back with its next time, if the lease is still ours.
-- @include times
--
-- KEYS  1 deliveries   2 the delivery
-- ARGV  1 delivery   2 token_ms   3 payload   4 due_ms
-- Returns 1, or 0 when the lease is not ours any more.
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], 'row', ARGV[3])
redis.call('ZADD', KEYS[1], due_time(ARGV[4]), ARGV[1])
return 1
