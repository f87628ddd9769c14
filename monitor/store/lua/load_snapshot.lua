-- Read a pool's snapshot; a key of another type reads as '?', which is no snapshot, so that it can be replaced.
--
-- KEYS  1 snap
local held = redis.pcall('GET', KEYS[1])
return type(held) == 'table' and held.err and '?' or held
