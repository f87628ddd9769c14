-- A pool's snapshot; a key of another type reads as '?', which is no snapshot, so that it can be replaced.
local function snapshot_in(key)
  local held = redis.pcall('GET', key)
  return type(held) == 'table' and held.err and '?' or held
end
