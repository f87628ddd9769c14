-- Read what decisions about some endpoints start from.
--
-- KEYS  1 rec   2 ovr
-- ARGV  ids
-- Returns the records and the overrides, both in the order of the ids.
return {redis.call('HMGET', KEYS[1], unpack(ARGV)), redis.call('HMGET', KEYS[2], unpack(ARGV))}
