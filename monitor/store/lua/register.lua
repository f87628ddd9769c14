-- Write and remove endpoints of one slot, all or, when one is not any more what the caller read, none.
-- A changed endpoint falls due for re-evaluation; so does a removed one that has a record, which
-- forget.lua takes away once its alerts have ended.
-- @include times dirty
--
-- KEYS  1 spec   2 plan   3 rev   4 due   5 rec   6 ovr   7 reevaluate   8 dirty   9... members of pools
-- ARGV  1 puts   2 removes   3 pools to weigh, all MessagePack
--       put:    {id, old = spec or '', spec, plan (or '' when paused), interval, phase, delay, patience (all ms),
--                leave, join = indices into KEYS, leave 0 for none}
--       remove: {id, old, leave}
-- Returns 1, or 0 when an endpoint had changed.
local now = now_ms()
local puts, removes, pools = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])

for _, list in ipairs({puts, removes}) do
  for _, item in ipairs(list) do
    if (redis.call('HGET', KEYS[1], item.id) or '') ~= item.old then
      return 0
    end
  end
end

local function on_grid(from, put)
  return due_time(from + (put.phase - from) % put.interval)
end

local function schedule(put)
  local score = redis.call('ZSCORE', KEYS[4], put.id)
  if not score then
    redis.call('ZADD', KEYS[4], on_grid(now + put.delay, put), put.id)
    redis.call('ZADD', KEYS[7], due_time(now + put.delay + put.patience), put.id)
    return
  end
  redis.call('ZADD', KEYS[7], at_once(now), put.id)
  local interval, phase = string.match(redis.call('HGET', KEYS[2], put.id) or '', '^(%d+):(%d+)')
  local claimed = is_lease(tonumber(score)) and tonumber(score) > now
  if not claimed and (tonumber(interval) ~= put.interval or tonumber(phase) ~= put.phase) then
    redis.call('ZADD', KEYS[4], on_grid(now, put), put.id)
  end
end

for _, put in ipairs(puts) do
  if put.plan == '' then
    redis.call('ZREM', KEYS[4], put.id)
    if put.old ~= '' then
      redis.call('ZADD', KEYS[7], at_once(now), put.id)
    end
    redis.call('HDEL', KEYS[2], put.id)
  else
    schedule(put)
    redis.call('HSET', KEYS[2], put.id, put.plan)
  end
  redis.call('HSET', KEYS[1], put.id, put.spec)
  if put.leave > 0 and put.leave ~= put.join then
    redis.call('SREM', KEYS[put.leave], put.id)
  end
  redis.call('SADD', KEYS[put.join], put.id)
end

for _, remove in ipairs(removes) do
  for _, hash in ipairs({1, 2, 6}) do
    redis.call('HDEL', KEYS[hash], remove.id)
  end
  redis.call('ZREM', KEYS[4], remove.id)
  if redis.call('HEXISTS', KEYS[5], remove.id) == 1 then
    redis.call('ZADD', KEYS[7], at_once(now), remove.id)
  else
    redis.call('ZREM', KEYS[7], remove.id)
  end
  if remove.leave > 0 then
    redis.call('SREM', KEYS[remove.leave], remove.id)
  end
end

for _, pool in ipairs(pools) do
  mark_dirty(KEYS[8], pool, now)
end
-- At least the time, so that a server which has lost its data does not count the same revisions again.
redis.call('SET', KEYS[3], string.format('%d', math.max((tonumber(redis.call('GET', KEYS[3])) or 0) + 1, now)))
return 1
