-- Make the lease of a claimed member longer, if it is still ours.
-- @include times
--
-- KEYS  1 the queue
-- ARGV  1 member   2 token_ms   3 lease_ms
-- Returns the new token, or 0 when the lease is not ours any more.
local held = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if held ~= tonumber(ARGV[2]) then
  return 0
end
local token = math.max(held, lease_token(now_ms() + ARGV[3]))
redis.call('ZADD', KEYS[1], token, ARGV[1])
return token
