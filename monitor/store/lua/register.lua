-- Write and remove endpoints of one slot: all of them or, where one is not what the caller had read, or what it was decided from has
-- changed elsewhere in the registry, none.
--
-- What is there already as the caller wants it is left alone, so that a call may be repeated. A change moves the version of the
-- record (creating one with an empty body), so that a decision in flight is refused, and lets the endpoint fall due for
-- re-evaluation; a removed endpoint's record stays until forget.lua takes it away.
-- @include times dirty version plan revision fence write
--
-- KEYS  1 spec   2 plan   3 rev   4 due   5 rec   6 ovr   7 reevaluate   8 dirty   9 events   10 judged
--       11 the registry's revision   12... members of pools, and endpoints' own logs
-- ARGV  1 puts   2 removals, both MessagePack   3 cap of events   4 cap of an own log   5 the registry's revision that was read, or ''
--       put:     {id, read = SHA-1 of the spec that was read or '', spec, plan ('' when paused), interval, phase, soon, delay,
--                 grace (all ms), elsewhere = whether it probes another thing than before, join = index into KEYS, pool, and what a
--                 removal has}
--       removal: {id, read, leave = list of {index into KEYS, pool}, log = index into KEYS, own = transitions for its own log,
--                 told = transitions for the stream, moves = whether others' changes are decided from it}
-- Returns the ids that are not what was read, and the registry's revision that follows from ARGV 5, -1 where it is another; nothing was
-- written where there are such ids, or -1.
local now = now_ms()
redis.call('HLEN', KEYS[6]) -- What people said is in it: where it holds another type, this is refused as a whole.
local kinds = {[2] = 'hash', [3] = 'string', [4] = 'zset', [5] = 'hash', [7] = 'zset', [8] = 'zset', [10] = 'zset'}
local puts, removals = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])

local stale, done, left = {}, {}, false
for _, list in ipairs({puts, removals}) do
  for _, item in ipairs(list) do
    local held = redis.call('HGET', KEYS[1], item.id)
    if (held or nil) == item.spec then
      done[item.id] = true
    else
      left = true
    end
    if not done[item.id] and (held and redis.sha1hex(held) or '') ~= item.read then
      stale[#stale + 1] = item.id
    end
  end
end
local revision = tonumber(ARGV[5]) or 0
if left and has_moved(KEYS[11], ARGV[5]) then
  revision = -1
end
if #stale > 0 or revision < 0 then
  return {stale, revision}
end
for _, list in ipairs({puts, removals}) do
  for _, item in ipairs(list) do
    for _, place in ipairs(item.leave) do
      kinds[place[1]] = 'set'
    end
    kinds[item.join or 8] = item.join and 'set' or 'zset'
  end
end
replaceable(kinds)

local function soon(from, put)
  return due_time(from + (put.phase - from) % put.soon)
end

local function schedule(put)
  local score = redis.call('ZSCORE', KEYS[4], put.id)
  if not score then
    redis.call('ZADD', KEYS[4], soon(now + put.delay, put), put.id)
    redis.call('ZADD', KEYS[7], put.read == '' and due_time(now + put.interval) or at_once(now), put.id)
    -- The pool counts as judged until its first results are due: a new endpoint says nothing of the others, a resumed one may be
    -- the only one.
    redis.call('ZADD', KEYS[10], put.read == '' and 'NX' or 'GT', now + put.grace, put.pool)
    return
  end
  redis.call('ZADD', KEYS[7], at_once(now), put.id)
  redis.call('ZADD', KEYS[10], 'NX', now + put.grace, put.pool)
  local interval, phase = plan_of(redis.call('HGET', KEYS[2], put.id) or '')
  if is_lease(tonumber(score)) and tonumber(score) > now then
    return
  elseif interval ~= put.interval or phase ~= put.phase then
    redis.call('ZADD', KEYS[4], soon(now, put), put.id)
  elseif put.elsewhere then
    redis.call('ZADD', KEYS[4], 'LT', soon(now + put.delay, put), put.id)
  end
end

local touched, changed, moves = {}, false, false

local function leave(item)
  for _, place in ipairs(item.leave) do
    touched[place[2]] = true
    if place[1] ~= item.join then
      redis.call('SREM', KEYS[place[1]], item.id)
      if redis.call('EXISTS', KEYS[place[1]]) == 0 then
        redis.call('ZREM', KEYS[10], place[2])
      end
    end
  end
end

local function tell(item)
  changed = true
  moves = moves or item.moves
  for _, transition in ipairs(item.told) do
    write('XADD', KEYS[9], 'MAXLEN', '~', ARGV[3], '*', 'd', transition)
  end
  if #item.own > 0 then
    write('RPUSH', KEYS[item.log], unpack(item.own))
    redis.call('LTRIM', KEYS[item.log], -ARGV[4], -1)
  end
end

for _, put in ipairs(puts) do
  if not done[put.id] then
    if put.plan == '' then
      redis.call('ZREM', KEYS[4], put.id)
      redis.call('HDEL', KEYS[2], put.id)
      if put.read ~= '' then
        redis.call('ZADD', KEYS[7], at_once(now), put.id)
      end
    else
      schedule(put)
      redis.call('HSET', KEYS[2], put.id, put.plan)
    end
    redis.call('HSET', KEYS[1], put.id, put.spec)
    if put.read ~= '' or redis.call('HEXISTS', KEYS[5], put.id) == 1 then
      move_version(KEYS[5], put.id, now)
    end
    leave(put)
    redis.call('SADD', KEYS[put.join], put.id)
    touched[put.pool] = true
    tell(put)
  end
end

for _, removal in ipairs(removals) do
  if not done[removal.id] then
    for _, hash in ipairs({1, 2, 6}) do
      redis.call('HDEL', KEYS[hash], removal.id)
    end
    redis.call('ZREM', KEYS[4], removal.id)
    move_version(KEYS[5], removal.id, now)
    redis.call('ZADD', KEYS[7], at_once(now), removal.id)
    leave(removal)
    tell(removal)
  end
end

for pool in pairs(touched) do
  mark_dirty(KEYS[8], pool, now)
end
if changed then
  move_revision(KEYS[3], now)
end
if moves then
  revision = move_revision(KEYS[11], now)
end
return {stale, revision}
