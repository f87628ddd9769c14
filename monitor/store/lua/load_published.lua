-- Read what is published of a pool, and the id of the last version that its log was given ('0-0' where there is no log).
-- @include snapshot stream
--
-- KEYS  1 snap   2 log
return {snapshot_in(KEYS[1]), last_id(KEYS[2])}
