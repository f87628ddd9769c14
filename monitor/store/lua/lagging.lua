-- Find the pools that seem to lag in one slot: no result vouches for them any more, they have been due for publishing for too long, or
-- publishing them has failed for as long. Failures that have stopped are forgotten.
-- @include times
--
-- KEYS  1 judged   2 dirty   3 unpublished
-- ARGV  1 ttl_ms   2 most names of each
-- Returns the server's time, the pools without a result, the pools that are not published.
local now, ttl = now_ms(), tonumber(ARGV[1])
local waiting = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. now - ttl, 'LIMIT', 0, ARGV[2])
local failing = redis.call('HGETALL', KEYS[3])
for i = 1, #failing, 2 do
  local first, last = string.match(failing[i + 1], '^(%d+):(%d+)$')
  if not first or math.abs(now - last) > ttl then
    redis.call('HDEL', KEYS[3], failing[i])
  elseif last - first >= ttl then
    waiting[#waiting + 1] = failing[i]
  end
end
return {now, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, ARGV[2]), waiting}
