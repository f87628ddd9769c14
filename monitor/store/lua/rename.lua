-- Give an endpoint another name, with all that is known of it: all of it or, where something is not what the caller had read, nothing.
--
-- Its history, record and override move; its own log is copied. What is left under the old name are the record's version, the log and what
-- the rules remember, as of a removed endpoint, until forget.lua takes them away and ends its alerts. Those that depend on it are written as well.
-- @include times dirty version revision fence write
--
-- KEYS  1 spec   2 plan   3 rev   4 due   5 rec   6 ovr   7 reevaluate   8 dirty   9 events   10 judged   11 members of its pool
--       12 its own log   13 ring   14 min   15 hour   16 day   17 minutes of its traffic, all of the old name; 18 to 34 the same of the
--       new one   35 the registry's revision, then for each that depends on it: spec, rev, rec, reevaluate, events, its own log
-- ARGV  1 old id   2 SHA-1 of its spec that was read   3 new id   4 its spec   5 its plan ('' when paused)   6 phase   7 soon
--       8 grace (ms)   9 pool   10, 11 transitions of the old and the new name   12 cap of events   13 cap of an own log
--       14 the registry's revision that was read   15 version of its record that was read (13 digits, -000000000001 for one that cannot
--       be read)   16 its record's body under the new name, then for each that depends on it: id, SHA-1 of its spec that was read, spec, transition
-- Returns the ids that are not what was read, and the registry's revision, -1 where it is another; nothing was written where there are
-- such ids, or -1. What is so already is left alone, so that a call may be repeated.
local now, old, new, pool = now_ms(), ARGV[1], ARGV[3], ARGV[9]
local HERE, THERE, CHILDREN, LISTED = 0, 17, 35, 16

local held, there = redis.call('HGET', KEYS[1], old), redis.call('HGET', KEYS[18], new)
if not held and there == ARGV[4] then
  return {{}, number_of(redis.call('GET', KEYS[35])) or 0}
end
local stale = {}
if not held or redis.sha1hex(held) ~= ARGV[2] or version_of(redis.call('HGET', KEYS[5], old)) ~= ARGV[15] then
  stale[#stale + 1] = old
end
if there or redis.call('HEXISTS', KEYS[22], new) == 1 then
  stale[#stale + 1] = new
end
local children = (#KEYS - CHILDREN) / 6
local function child(number)
  local key, arg = CHILDREN + 6 * number, LISTED + 4 * number
  return key, ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4]
end
for number = 0, children - 1 do
  local key, id, read = child(number)
  local spec = redis.call('HGET', KEYS[key + 1], id)
  if not spec or redis.sha1hex(spec) ~= read then
    stale[#stale + 1] = id
  end
end
local revision = has_moved(KEYS[35], ARGV[14]) and -1 or 0
if #stale > 0 or revision < 0 then
  return {stale, revision}
end
local override = redis.call('HGET', KEYS[6], old) -- What people said is in both: where one holds another type, this is refused as a whole.
redis.call('HLEN', KEYS[23])
local kinds = {}
for number = 0, children - 1 do
  local key = child(number)
  kinds[key + 2], kinds[key + 3], kinds[key + 4] = 'string', 'hash', 'zset'
end
for _, side in ipairs({HERE, THERE}) do
  for place, kind in ipairs({'', 'hash', 'string', 'zset', 'hash', '', 'zset', 'zset', '', 'zset', 'set'}) do
    kinds[side + place] = kind ~= '' and kind or nil
  end
end
replaceable(kinds)

local function tell(events, log, transition)
  write('XADD', KEYS[events], 'MAXLEN', '~', ARGV[12], '*', 'd', transition)
  write('RPUSH', KEYS[log], transition)
  redis.call('LTRIM', KEYS[log], -ARGV[13], -1)
end

-- The new name.
redis.call('HSET', KEYS[18], new, ARGV[4])
redis.call('HSET', KEYS[22], new, string.format('%013d', math.max(ARGV[15] + 1, now)) .. ARGV[16])
if override then
  redis.call('HSET', KEYS[23], new, override)
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[19], new, ARGV[5])
  redis.call('ZADD', KEYS[21], due_time(now + (ARGV[6] - now) % ARGV[7]), new)
end
redis.call('ZADD', KEYS[24], at_once(now), new)
redis.call('SADD', KEYS[28], new)
local judged = redis.call('ZSCORE', KEYS[10], pool)
redis.call('ZADD', KEYS[27], judged and 'GT' or 'NX', judged or now + ARGV[8], pool)
for place = 13, 17 do
  redis.call('DEL', KEYS[THERE + place])
  if redis.call('EXISTS', KEYS[place]) == 1 then
    redis.call('RENAME', KEYS[place], KEYS[THERE + place])
  end
end
redis.call('DEL', KEYS[29])
local log = redis.call('TYPE', KEYS[12]).ok == 'list' and redis.call('LRANGE', KEYS[12], 0, -1) or {}
if #log > 0 then
  redis.call('RPUSH', KEYS[29], unpack(log))
end

-- The old name, as one that was removed.
for _, hash in ipairs({1, 2, 6}) do
  redis.call('HDEL', KEYS[hash], old)
end
redis.call('ZREM', KEYS[4], old)
redis.call('HSET', KEYS[5], old, string.format('%013d', math.max(ARGV[15] + 1, now)))
redis.call('ZADD', KEYS[7], at_once(now), old)
redis.call('SREM', KEYS[11], old)
if redis.call('EXISTS', KEYS[11]) == 0 then
  redis.call('ZREM', KEYS[10], pool)
end
tell(9, 12, ARGV[10])
tell(26, 29, ARGV[11])
for _, side in ipairs({HERE, THERE}) do
  mark_dirty(KEYS[side + 8], pool, now)
  move_revision(KEYS[side + 3], now)
end

-- Those that depend on it.
for number = 0, children - 1 do
  local key, id, _, spec, transition = child(number)
  redis.call('HSET', KEYS[key + 1], id, spec)
  move_revision(KEYS[key + 2], now)
  move_version(KEYS[key + 3], id, now)
  write('ZADD', KEYS[key + 4], at_once(now), id)
  tell(key + 5, key + 6, transition)
end
return {stale, move_revision(KEYS[35], now)}
