-- Read a pool's members in one slot as one reading.
--
-- KEYS  1 the pool's members   2 spec   3 rec   4 ovr
-- Returns the ids, their entries, their records and their overrides.
local ids = redis.call('SMEMBERS', KEYS[1])
local found = {ids, {}, {}, {}}
for first = 1, #ids, 1000 do
  local last = math.min(first + 999, #ids)
  for hash = 2, 4 do
    for _, value in ipairs(redis.call('HMGET', KEYS[hash], unpack(ids, first, last))) do
      found[hash][#found[hash] + 1] = value
    end
  end
end
return found
