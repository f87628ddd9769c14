-- Let pools fall due for weighing at once.
-- @include times dirty
--
-- KEYS  1 dirty
-- ARGV  pools
local now = now_ms()
for _, pool in ipairs(ARGV) do
  mark_dirty(KEYS[1], pool, now)
end
return #ARGV
