-- Read a pool's members in one slot as one reading.
--
-- KEYS  1 the pool's members   2 rec   3 ovr
-- Returns the ids, their records and their overrides.
local ids = redis.call('SMEMBERS', KEYS[1])
local records, overrides = {}, {}
for first = 1, #ids, 1000 do
  local last = math.min(first + 999, #ids)
  for _, record in ipairs(redis.call('HMGET', KEYS[2], unpack(ids, first, last))) do
    records[#records + 1] = record
  end
  for _, override in ipairs(redis.call('HMGET', KEYS[3], unpack(ids, first, last))) do
    overrides[#overrides + 1] = override
  end
end
return {ids, records, overrides}
