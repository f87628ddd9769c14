-- Delete a copy of what could not be read, if it is the one that was seen.
--
-- KEYS  1 aside
-- ARGV  1 field   2 SHA-1 of the copy
-- Returns how many were deleted.
local held = redis.call('HGET', KEYS[1], ARGV[1])
return held and redis.sha1hex(held) == ARGV[2] and redis.call('HDEL', KEYS[1], ARGV[1]) or 0
