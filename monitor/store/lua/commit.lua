-- Write what decided observations change, each only if its lease and its record are still those that the decision started from.
-- @include times dirty version hints plan write
--
-- KEYS  1 due   2 plan   3 rec   4 reevaluate   5 dirty   6 events   7 alerts   8 spec   9 mem   10 judged   11 alerting   12 pace
--       13... for each item in order: its own log if it has transitions, then one ring or rollup per write
-- ARGV  1 cap of events   2 cap of alerts   3 cap of an endpoint's own log   4 gap_ms: a longer pause between two results is noted
--       5 ids   6 heads, both MessagePack arrays, the heads flat (tables are slow to make):
--         token_ms or false, version held (13 digits, -000000000001 for one that cannot be read), reevaluate_ms (0 to take it out,
--         false to leave it), pool, dirty_at_ms or false, interval_ms or 0, vouched_ms or 0, false or what the memory holds
--         (0 no alert, 1 some),
--         how many transitions, how many alerts, how many writes, the offset of each write
--       7... the bodies in the order of the heads: record with its new version, memory, data of each write, transitions, alerts
-- Returns per item 0 OK, 1 STALE, 2 LOST.
local now = now_ms()
local ids = cmsgpack.unpack(ARGV[5])
local heads = cmsgpack.unpack(ARGV[6])
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ids))
local plans = redis.call('HMGET', KEYS[2], unpack(ids))
local held = redis.call('HMGET', KEYS[3], unpack(ids))

local answers, seen = {}, {}
local records, memories, due, later, never = {}, {}, {}, {}, {}
local dirty, fresh, alerted = {}, {}, false
local head, key, body = 0, 12, 6 -- the last of each that was used

local function due_after(token, plan, every)
  local interval, phase, lease = plan_of(plan)
  every = every > 0 and every or interval
  local base = math.max(now, token - lease) -- a result that came before its due time still uses up that slot
  return due_time(base - (base - phase) % every + every)
end

for i, id in ipairs(ids) do
  local token, version, reevaluate_at, pool, dirty_at, every, vouched, memory, transitions, alerts, writes =
    unpack(heads, head + 1, head + 11)
  local own_log = transitions > 0 and 1 or 0
  local first_write = body + 2 + (memory and 1 or 0)
  local first_transition = first_write + writes
  local first_alert = first_transition + transitions
  local next_body = first_alert + alerts - 1
  if seen[id] then
    answers[i] = 1
  elseif token and (not plans[i] or tonumber(scores[i] or 0) ~= token) or not token and redis.call('HEXISTS', KEYS[8], id) == 0 then
    answers[i] = 2
  elseif version_of(held[i]) ~= version then
    answers[i] = 1
  else
    answers[i] = 0
    seen[id] = true
    records[#records + 1] = id
    records[#records + 1] = ARGV[body + 1]
    if memory then
      memories[#memories + 1] = id
      memories[#memories + 1] = ARGV[body + 2]
      write(memory == 1 and 'SADD' or 'SREM', KEYS[11], id)
    end
    if token then
      due[#due + 1] = due_after(token, plans[i], every)
      due[#due + 1] = id
    end
    if reevaluate_at == 0 then
      never[#never + 1] = id
    elseif reevaluate_at then
      later[#later + 1] = due_time(reevaluate_at)
      later[#later + 1] = id
    end
    if dirty_at and (not dirty[pool] or dirty_at < dirty[pool]) then
      dirty[pool] = dirty_at
    end
    if vouched ~= 0 and now + vouched > (fresh[pool] or 0) then
      fresh[pool] = now + vouched
    end
    for w = 1, writes do
      write('SETRANGE', KEYS[key + own_log + w], heads[head + 11 + w], ARGV[first_write + w - 1])
    end
    if own_log == 1 then
      for place = first_transition, first_alert - 1 do
        write('XADD', KEYS[6], 'MAXLEN', '~', ARGV[1], '*', 'd', ARGV[place])
      end
      write('RPUSH', KEYS[key + 1], unpack(ARGV, first_transition, first_alert - 1))
      redis.call('LTRIM', KEYS[key + 1], -ARGV[3], -1)
    end
    alerted = alerted or alerts > 0
    for place = first_alert, next_body do
      write('XADD', KEYS[7], 'MAXLEN', '~', ARGV[2], '*', 'd', ARGV[place])
    end
  end
  head, key, body = head + 11 + writes, key + own_log + writes, next_body
end

if #records > 0 then
  write('HSET', KEYS[3], unpack(records))
end
if #memories > 0 then
  write('HSET', KEYS[9], unpack(memories))
end
if #due > 0 then
  write('ZADD', KEYS[1], unpack(due))
  local last = redis.pcall('HGET', KEYS[12], 'result')
  local gap = now - (type(last) == 'string' and number_of(last) or 0)
  if gap > tonumber(ARGV[4]) then
    write('HSET', KEYS[12], 'gap', gap, 'resumed', now)
  end
  write('HSET', KEYS[12], 'result', now)
end
if #later > 0 then
  write('ZADD', KEYS[4], unpack(later))
end
if #never > 0 then
  write('ZREM', KEYS[4], unpack(never))
end
local vouched = {}
for pool, until_ms in pairs(fresh) do
  vouched[#vouched + 1] = until_ms
  vouched[#vouched + 1] = pool
end
if #vouched > 0 then
  write('ZADD', KEYS[10], 'GT', unpack(vouched))
end
for pool, at in pairs(dirty) do
  mark_dirty(KEYS[5], pool, at)
end
if alerted then
  hint_alerts(KEYS[7])
end
return answers
