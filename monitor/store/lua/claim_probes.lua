-- Take endpoints that fall due, earliest first, each leased for as long as its plan says.
-- An odd score is the token of a lease, an even one a due time.
--
-- KEYS  1 due   2 plan   3 rev
-- ARGV  1 limit   2 horizon_ms
-- Returns now_ms, rev, then id, token_ms, due_ms of each endpoint taken.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {now, tonumber(redis.call('GET', KEYS[3]) or 0)}
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
  if score % 2 == 1 and score > now then
    -- a lease that ends within the horizon is still somebody's
  elseif plans[i] then
    local token = math.max(now, score) + string.match(plans[i], '^%d+:%d+:(%d+)')
    token = token + 1 - token % 2
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
