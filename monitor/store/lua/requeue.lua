-- Let endpoints that have a plan and stand nowhere in the queue fall due at once: somebody has deleted them from it, or all of it.
-- @include times
--
-- KEYS  1 due   2 plan
-- ARGV  1 cursor of HSCAN   2 how many to examine
-- Returns the next cursor ('0' at the end), and how many fell due.
local scan = redis.call('HSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
local missing = 0
for i = 1, #scan[2], 2 do
  missing = missing + redis.call('ZADD', KEYS[1], 'NX', at_once(now_ms()), scan[2][i])
end
return {scan[1], missing}
