-- Read the heartbeats that are younger than a limit; delete the others, those from a time that has been put right,
-- and what is no heartbeat.
-- @include times
--
-- KEYS  1 procs
-- ARGV  1 max_age_ms
-- Returns name, process of each.
local now = now_ms()
local all, alive = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if math.abs(now - (number_of(string.sub(all[i + 1], 1, 13)) or 0)) < tonumber(ARGV[1]) then
    alive[#alive + 1] = all[i]
    alive[#alive + 1] = string.sub(all[i + 1], 14)
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return alive
