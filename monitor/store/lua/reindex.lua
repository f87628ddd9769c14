-- Hold what follows from the entries of a pool's endpoints in one slot against them: a member set or a plan that somebody has deleted, or
-- overwritten with another type, is made anew. An entry that has changed since it was read is left to whoever changed it.
-- @include times dirty write
--
-- KEYS  1 spec   2 plan   3 due   4 members of the pool   5 dirty
-- ARGV  1 pool   2... id, SHA-1 of its entry, plan ('' where it has none) of each endpoint
-- Returns how many were missing.
replaceable({[2] = 'hash', [3] = 'zset', [4] = 'set', [5] = 'zset'})
local now, missing, joined = now_ms(), 0, 0
for i = 2, #ARGV, 3 do
  local id, digest, plan = unpack(ARGV, i, i + 2)
  local spec = redis.call('HGET', KEYS[1], id)
  if spec and redis.sha1hex(spec) == digest then
    joined = joined + redis.call('SADD', KEYS[4], id)
    if plan ~= '' and redis.call('HSETNX', KEYS[2], id, plan) == 1 then
      redis.call('ZADD', KEYS[3], 'NX', at_once(now), id)
      missing = missing + 1
    end
  end
end
if joined > 0 then
  mark_dirty(KEYS[5], ARGV[1], now)
end
return missing + joined
