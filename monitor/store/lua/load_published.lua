-- Read what is published of a pool, the id of the last version that its log was given ('0-0' where there is no log), and what is known
-- of its traffic.
-- @include snapshot stream
--
-- KEYS  1 snap   2 log   3 traffic
local traffic = redis.call('TYPE', KEYS[3]).ok == 'hash' and redis.call('HGETALL', KEYS[3]) or {}
return {snapshot_in(KEYS[1]), last_id(KEYS[2]), traffic}
