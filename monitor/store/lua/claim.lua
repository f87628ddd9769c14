-- Take what is due in a work queue, earliest first; a member not finished within the lease falls due again by itself.
--
-- KEYS  1 the queue
-- ARGV  1 limit   2 lease_ms
-- Returns member, token_ms, due_ms of each taken.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
local taken, leases = {}, {}
for i = 1, #due, 2 do
  local token = now + ARGV[2]
  leases[#leases + 1] = token
  leases[#leases + 1] = due[i]
  taken[#taken + 1] = due[i]
  taken[#taken + 1] = token
  taken[#taken + 1] = tonumber(due[i + 1])
end
if #leases > 0 then
  redis.call('ZADD', KEYS[1], unpack(leases))
end
return taken
