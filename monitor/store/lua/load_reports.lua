-- Read the oldest reports of a pool that are not yet folded in. A key of another type is none of ours, and consumers could write nothing
-- to it: it goes.
--
-- KEYS  1 reports
-- ARGV  1 limit   2 bytes, after which no more are read   3 bytes of one report, of which no more are read
-- Returns {id, report} of each, '' for an entry without one.
local PAGE = 10
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' then
  if kind ~= 'none' then
    redis.call('DEL', KEYS[1])
  end
  return {}
end
local found, from, bytes, limit, bytes_max = {}, '-', 0, tonumber(ARGV[1]), tonumber(ARGV[2])
while #found < limit and bytes < bytes_max do
  local page = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', math.min(PAGE, limit - #found))
  if #page == 0 then
    break
  end
  for _, entry in ipairs(page) do
    if bytes >= bytes_max then
      break
    end
    local report = ''
    for field = 1, #entry[2], 2 do
      if entry[2][field] == 'r' then
        report = string.sub(entry[2][field + 1], 1, ARGV[3])
      end
    end
    found[#found + 1] = {entry[1], report}
    from, bytes = '(' .. entry[1], bytes + #report
  end
end
return found
