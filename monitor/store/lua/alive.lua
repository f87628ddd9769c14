-- Write the evaluators' heartbeat: the server's time, gone after its TTL.
--
-- KEYS  1 alive
-- ARGV  1 ttl_ms
local time = redis.call('TIME')
return redis.call('SET', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), 'PX', ARGV[1])
