-- Write and remove pools' settings: all of them or, where one is not what the caller had read, none. With them goes what they let
-- follow, so that no answer that is lost, and no repetition, leaves a change untold or tells it twice.
-- @include times dirty revision
--
-- KEYS  1 pools   2 events   3... dirty and rev of each slot
-- ARGV  1 list of {name, read = SHA-1 of the settings that were read or '', settings or '' to remove them, told = transitions}
--       2 further transitions, told unless they are among the newest events; both MessagePack   3 cap of events
--       4 how many of the newest events
-- Returns the names that are not what was read; nothing was written unless there are none.
local now = now_ms()

local stale, changes = {}, {}
for _, pool in ipairs(cmsgpack.unpack(ARGV[1])) do
  local held = redis.call('HGET', KEYS[1], pool.name) or ''
  if held ~= pool.settings then
    changes[#changes + 1] = pool
    if (held == '' and '' or redis.sha1hex(held)) ~= pool.read then
      stale[#stale + 1] = pool.name
    end
  end
end
if #stale > 0 then
  return stale
end

local function tell(transition)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'd', transition)
end

local further = cmsgpack.unpack(ARGV[2])
local told = {}
for _, entry in ipairs(#further > 0 and redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[4]) or {}) do
  told[entry[2][2]] = true
end
for _, transition in ipairs(further) do
  if not told[transition] then
    tell(transition)
  end
end
for _, pool in ipairs(changes) do
  if pool.settings == '' then
    redis.call('HDEL', KEYS[1], pool.name)
  else
    redis.call('HSET', KEYS[1], pool.name, pool.settings)
  end
  for slot = 3, #KEYS, 2 do
    mark_dirty(KEYS[slot], pool.name, now)
  end
  for _, transition in ipairs(pool.told) do
    tell(transition)
  end
end
for slot = 3, #changes > 0 and #KEYS or 0, 2 do
  move_revision(KEYS[slot + 1], now)
end
return stale
