-- Return the id of the last version that a pool's log was given, '0-0' where there is no log.
--
-- KEYS  1 log
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then
  return '0-0'
end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then
    return info[i + 1]
  end
end
return '0-0'
