-- Take what is due in a work queue, earliest first; a member not finished within the lease falls due again by itself.
-- @include times
--
-- KEYS  1 the queue
-- ARGV  1 limit   2 lease_ms   3 early_ms   4... members: take these alone, if they fall due within early_ms and nobody holds them
-- Returns member, token_ms, due_ms of each taken.
local now = now_ms()
local due
if #ARGV > 3 then
  due = {}
  for i, score in ipairs(redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 4))) do
    local at = tonumber(score or nil)
    if at and at <= (is_lease(at) and now or now + ARGV[3]) then
      due[#due + 1] = ARGV[3 + i]
      due[#due + 1] = score
    end
  end
else
  due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
end
local token = lease_token(now + ARGV[2])
local taken, leases = {}, {}
for i = 1, #due, 2 do
  leases[#leases + 1] = token
  leases[#leases + 1] = due[i]
  taken[#taken + 1] = due[i]
  taken[#taken + 1] = token
  taken[#taken + 1] = math.max(0, tonumber(due[i + 1])) -- A hand may have written a time before all time.
end
if #leases > 0 then
  redis.call('ZADD', KEYS[1], unpack(leases))
end
return taken
