-- Whether the registry's revision is another than the one that a change was decided at ('' for one that read no other entry).
local function has_moved(key, read)
  return read ~= '' and (number_of(redis.call('GET', key)) or 0) ~= tonumber(read)
end
