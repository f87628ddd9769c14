-- Write a process's sign of life behind the server's time (13 digits).
--
-- KEYS  1 procs
-- ARGV  1 name   2 process
local time = redis.call('TIME')
local now = string.format('%013.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return redis.call('HSET', KEYS[1], ARGV[1], now .. ARGV[2])
