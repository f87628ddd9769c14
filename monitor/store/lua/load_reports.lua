-- Read the oldest reports of a pool that are not yet folded in. A key of another type is none of ours, and consumers could write nothing
-- to it: it goes.
--
-- KEYS  1 reports
-- ARGV  1 limit
-- Returns {id, report} of each, '' for an entry without one.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' then
  if kind ~= 'none' then
    redis.call('DEL', KEYS[1])
  end
  return {}
end
local found = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])
for i, entry in ipairs(found) do
  local report = ''
  for field = 1, #entry[2], 2 do
    if entry[2][field] == 'r' then
      report = entry[2][field + 1]
    end
  end
  found[i] = {entry[1], report}
end
return found
