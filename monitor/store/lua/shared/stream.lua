-- The id that a stream gave last, '0-0' where there is none.
local function last_id(stream)
  if redis.call('TYPE', stream).ok ~= 'stream' then
    return '0-0'
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return info[i + 1]
    end
  end
  return '0-0'
end
