-- Write and remove pools' settings: all of them or, where one is not what the caller had read, or what it was decided from has changed
-- elsewhere in the registry, none. With them goes what they let follow, so that no answer that is lost, and no repetition, leaves a change untold or tells it twice.
-- @include times dirty revision fence write
--
-- KEYS  1 pools   2 events   3 the registry's revision   4... dirty and rev of each slot
-- ARGV  1 list of {name, read = SHA-1 of the settings that were read or '', settings or '' to remove them, told = transitions}
--       2 further transitions, told unless they are among the newest events; both MessagePack   3 cap of events
--       4 how many of the newest events   5 the registry's revision that was read, or ''
-- Returns the names that are not what was read, and the registry's revision that follows from ARGV 5, -1 where it is another; nothing was
-- written where there are such names, or -1.
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
local revision = tonumber(ARGV[5]) or 0
if #changes > 0 and has_moved(KEYS[3], ARGV[5]) then
  revision = -1
end
if #stale > 0 or revision < 0 then
  return {stale, revision}
end

local function tell(transition)
  write('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'd', transition)
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
  for slot = 4, #KEYS, 2 do
    mark_dirty(KEYS[slot], pool.name, now)
  end
  for _, transition in ipairs(pool.told) do
    tell(transition)
  end
end
if #changes > 0 then
  for slot = 4, #KEYS, 2 do
    move_revision(KEYS[slot + 1], now)
  end
  revision = move_revision(KEYS[3], now)
end
return {stale, revision}
