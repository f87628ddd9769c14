-- Tell whether a pool has a member in one slot that is probed. Where it has none nobody vouches for it, nor need anybody.
--
-- KEYS  1 judged   2 the pool's members   3 plan
-- ARGV  1 pool
-- Returns 1 or 0.
local ids = redis.call('SMEMBERS', KEYS[2])
for first = 1, #ids, 1000 do
  for _, plan in ipairs(redis.call('HMGET', KEYS[3], unpack(ids, first, math.min(first + 999, #ids)))) do
    if plan then
      return 1
    end
  end
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 0
