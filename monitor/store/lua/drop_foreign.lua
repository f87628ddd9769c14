-- Delete a key that holds a value of another type than its own: every command on it would be refused, for ever.
--
-- KEYS  1 the key
-- ARGV  1 its type
-- Returns 1 where it was deleted.
local kind = redis.call('TYPE', KEYS[1]).ok
return kind ~= ARGV[1] and redis.call('DEL', KEYS[1]) or 0
