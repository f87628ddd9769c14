-- Write a process's heartbeat behind the server's time (13 digits).
-- @include times
--
-- KEYS  1 procs
-- ARGV  1 name   2 process
local now = string.format('%013.0f', now_ms())
return redis.call('HSET', KEYS[1], ARGV[1], now .. ARGV[2])
