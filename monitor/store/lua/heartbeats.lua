-- Read the signs of life that are younger than a limit; delete the others.
--
-- KEYS  1 procs
-- ARGV  1 max_age_ms
-- Returns name, process of each.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all, alive = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if now - string.sub(all[i + 1], 1, 13) < tonumber(ARGV[1]) then
    alive[#alive + 1] = all[i]
    alive[#alive + 1] = string.sub(all[i + 1], 14)
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return alive
