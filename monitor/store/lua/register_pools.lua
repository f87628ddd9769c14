-- Write and remove pools' settings: all of them or, where one is not what the caller had read, none.
--
-- KEYS  1 pools
-- ARGV  for each pool: name, SHA-1 of the settings that were read or '', settings or '' to remove them
-- Returns the names that are not what was read; nothing was written unless there are none.
local stale = {}
for place = 1, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[1], ARGV[place])
  if (held or '') ~= ARGV[place + 2] and (held and redis.sha1hex(held) or '') ~= ARGV[place + 1] then
    stale[#stale + 1] = ARGV[place]
  end
end
if #stale > 0 then
  return stale
end
for place = 1, #ARGV, 3 do
  if ARGV[place + 2] == '' then
    redis.call('HDEL', KEYS[1], ARGV[place])
  else
    redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 2])
  end
end
return stale
