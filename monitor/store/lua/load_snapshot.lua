-- Read a pool's snapshot.
-- @include snapshot
--
-- KEYS  1 snap
return snapshot_in(KEYS[1])
