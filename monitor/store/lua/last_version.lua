-- Return the id of the last version that a pool's log was given, '0-0' where there is no log.
-- @include stream
--
-- KEYS  1 log
return last_id(KEYS[1])
