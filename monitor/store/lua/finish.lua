-- Give a claimed member of a work queue its next time, or take it out, if the lease is still ours.
-- @include times
--
-- KEYS  1 the queue
-- ARGV  1 member   2 token_ms   3 next_ms, '' to take it out
-- Returns 1, or 0 when the lease is not ours any more.
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) ~= tonumber(ARGV[2]) then
  return 0
end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], due_time(ARGV[3]), ARGV[1])
end
return 1
