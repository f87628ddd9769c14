-- Take endpoints that fall due, earliest first, each leased for as long as its plan says, and keep the slot's pace.
-- An odd score is the token of a lease, an even one a due time. An endpoint that waited for longer than its interval has missed the
-- slots before the present one, and is probed for that.
-- @include times plan
--
-- KEYS  1 due   2 plan   3 rev   4 pace
-- ARGV  1 limit   2 horizon_ms   3 gap_ms: after a longer pause between two claims judging begins anew
--       4 step_ms: a time before the last claim by more than this is a step back of the server's time
-- Returns now_ms, rev, the shortest interval of those taken (0 for none), then id, token_ms, due_ms of each.
local now = now_ms()
local pace = redis.call('HMGET', KEYS[4], 'last', 'since')
local last = number_of(pace[1])
local back = last and last - now or 0
if back > tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[4], 'back', (number_of(redis.call('HGET', KEYS[4], 'back')) or 0) + back)
end
local since = last and back <= tonumber(ARGV[4]) and -back <= tonumber(ARGV[3]) and number_of(pace[2]) or now
redis.call('HSET', KEYS[4], 'last', now, 'since', since)

local taken = {now, number_of(redis.call('GET', KEYS[3])) or 0, 0}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now + ARGV[2], 'WITHSCORES', 'LIMIT', 0, ARGV[1])
if #due == 0 then
  return taken
end

local ids, leases, orphans = {}, {}, {}
for i = 1, #due, 2 do
  ids[#ids + 1] = due[i]
end
local plans = redis.call('HMGET', KEYS[2], unpack(ids))
for i, id in ipairs(ids) do
  local score = tonumber(due[2 * i])
  if is_lease(score) and score > now then
    -- a lease that ends within the horizon is still somebody's
  elseif plans[i] then
    local interval, phase, lease = plan_of(plans[i])
    if now - score >= interval then
      score = at_once(now - (now - phase) % interval)
    end
    local token = lease_token(math.max(now, score) + lease)
    taken[3] = taken[3] == 0 and tonumber(interval) or math.min(taken[3], interval)
    leases[#leases + 1] = token
    leases[#leases + 1] = id
    taken[#taken + 1] = id
    taken[#taken + 1] = token
    taken[#taken + 1] = score
  else
    orphans[#orphans + 1] = id
  end
end
if #leases > 0 then
  redis.call('ZADD', KEYS[1], unpack(leases))
end
if #orphans > 0 then
  redis.call('ZREM', KEYS[1], unpack(orphans))
end
return taken
