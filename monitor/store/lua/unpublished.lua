-- Note that a pool could not be published. Failures that follow on each other within a limit are one, which began with the first.
-- @include times
--
-- KEYS  1 unpublished
-- ARGV  1 pool   2 limit_ms
local now = now_ms()
local first, last = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+):(%d+)$')
if not first or now - last > tonumber(ARGV[2]) then
  first = string.format('%d', now)
end
return redis.call('HSET', KEYS[1], ARGV[1], first .. ':' .. string.format('%d', now))
