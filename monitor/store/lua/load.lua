-- Read what decisions about some endpoints start from.
--
-- KEYS  1 rec   2 ovr   3 mem   4 rev
-- ARGV  ids
-- Returns the records, the overrides and the rules' memories, each in the order of the ids, then the slot's revision.
return {redis.call('HMGET', KEYS[1], unpack(ARGV)), redis.call('HMGET', KEYS[2], unpack(ARGV)), redis.call('HMGET', KEYS[3], unpack(ARGV)), redis.call('GET', KEYS[4])}
