-- Let an endpoint be probed at a time of the caller's choice, unless it is claimed or not in the due set (paused, gone).
--
-- KEYS  1 due
-- ARGV  1 id   2 at_ms, rounded down to the even millisecond of a due time
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local score = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or nil)
if score and (score % 2 == 0 or score <= now) then
  redis.call('ZADD', KEYS[1], ARGV[2] - ARGV[2] % 2, ARGV[1])
end
return 1
