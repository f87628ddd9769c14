-- Read what decisions about some endpoints start from.
--
-- KEYS  1 rec   2 ovr   3 mem   4 rev
-- ARGV  ids
-- Returns the records, the overrides and the rules' memories, each in the order of the ids or empty where there is none in the slot
-- (operators and alerts are rare, and a list of nothing costs as much as one of something), then the slot's revision.
local function values(key)
  return redis.call('EXISTS', key) == 1 and redis.call('HMGET', key, unpack(ARGV)) or {}
end
return {values(KEYS[1]), values(KEYS[2]), values(KEYS[3]), redis.call('GET', KEYS[4])}
