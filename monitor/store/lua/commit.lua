-- Write what decided results change, each only if its lease and its record are still those that the decision started from.
--
-- KEYS  1 due   2 plan   3 rec   4 watch   5 dirty   6 events   7 alerts   8 spec   9... one ring or rollup per write, in order
-- ARGV  1 cap of events   2 cap of alerts   3 ids   4 heads, both MessagePack arrays, the heads flat (tables are slow to make):
--         token_ms or false, version held (10 digits), reevaluate_ms (0 to take it out, false to leave it), pool, dirty_at_ms or false,
--         interval_ms or 0, how many transitions, how many alerts, how many writes, the offset of each write
--       5... the bodies in the order of the heads: record with its new version, data of each write, transitions, alerts
-- Returns per item 0 OK, 1 STALE, 2 LOST.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = cmsgpack.unpack(ARGV[3])
local heads = cmsgpack.unpack(ARGV[4])
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ids))
local plans = redis.call('HMGET', KEYS[2], unpack(ids))
local held = redis.call('HMGET', KEYS[3], unpack(ids))

local answers, seen = {}, {}
local records, due, watched, unwatched = {}, {}, {}, {}
local dirty = {}
local head, key, body = 0, 8, 4 -- the last of each that was used

local function due_after(token, plan, every)
  local interval, phase, lease = string.match(plan, '^(%d+):(%d+):(%d+)')
  every = every > 0 and every or tonumber(interval)
  local base = math.max(now, token - lease) -- a result that came before its due time still uses up that slot
  local next = base - (base - phase) % every + every
  return next + next % 2
end

for i, id in ipairs(ids) do
  local token, version, reevaluate_ms, pool, dirty_at, every, transitions, alerts, writes = unpack(heads, head + 1, head + 9)
  local next_body = body + 1 + writes + transitions + alerts
  if seen[id] then
    answers[i] = 1
  elseif token and (not plans[i] or tonumber(scores[i] or 0) ~= token) or not token and redis.call('HEXISTS', KEYS[8], id) == 0 then
    answers[i] = 2
  elseif (held[i] and string.sub(held[i], 1, 10) or '0000000000') ~= version then
    answers[i] = 1
  else
    answers[i] = 0
    seen[id] = true
    records[#records + 1] = id
    records[#records + 1] = ARGV[body + 1]
    if token then
      due[#due + 1] = due_after(token, plans[i], every)
      due[#due + 1] = id
    end
    if reevaluate_ms == 0 then
      unwatched[#unwatched + 1] = id
    elseif reevaluate_ms then
      watched[#watched + 1] = reevaluate_ms
      watched[#watched + 1] = id
    end
    if dirty_at and (not dirty[pool] or dirty_at < dirty[pool]) then
      dirty[pool] = dirty_at
    end
    for w = 1, writes do
      redis.call('SETRANGE', KEYS[key + w], heads[head + 9 + w], ARGV[body + 1 + w])
    end
    for place = next_body - alerts - transitions + 1, next_body - alerts do
      redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[1], '*', 'd', ARGV[place])
    end
    for place = next_body - alerts + 1, next_body do
      redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[2], '*', 'd', ARGV[place])
    end
  end
  head, key, body = head + 9 + writes, key + writes, next_body
end

if #records > 0 then
  redis.call('HSET', KEYS[3], unpack(records))
end
if #due > 0 then
  redis.call('ZADD', KEYS[1], unpack(due))
end
if #watched > 0 then
  redis.call('ZADD', KEYS[4], unpack(watched))
end
if #unwatched > 0 then
  redis.call('ZREM', KEYS[4], unpack(unwatched))
end
for pool, at in pairs(dirty) do
  -- A mark always changes the score, so that whoever is weighing from an earlier reading cannot take it away with his own.
  local marked = tonumber(redis.call('ZSCORE', KEYS[5], pool) or nil)
  redis.call('ZADD', KEYS[5], marked and math.min(at, marked - 1) or at, pool)
end
return answers
