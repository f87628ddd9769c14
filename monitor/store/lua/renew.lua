-- Make the lease of a claimed member longer, if it is still ours.
-- @include times
--
-- KEYS  1 the queue
-- ARGV  1 member   2 token_ms   3 the new token   4 '1' where it may have been done before
-- Returns 1, or 0 when the lease is not ours any more, or would have ended already.
local held = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if held ~= tonumber(ARGV[2]) and not (ARGV[4] == '1' and held == tonumber(ARGV[3])) or tonumber(ARGV[3]) <= now_ms() then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
