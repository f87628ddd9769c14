-- Put endpoints back on their grid whose due time lies further ahead than their plan allows (a clock that jumped back).
--
-- KEYS  1 due   2 plan
-- ARGV  1 cursor of ZSCAN   2 how many to look at
-- Returns the next cursor ('0' at the end) and how many were moved.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local scan = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries, moved = scan[2], 0
for i = 1, #entries, 2 do
  local score = tonumber(entries[i + 1])
  local plan = score > now and redis.call('HGET', KEYS[2], entries[i])
  if plan then
    local interval, phase, lease, delay = string.match(plan, '^(%d+):(%d+):(%d+):(%d+)')
    if score > now + interval + lease + delay then
      local due = now + (phase - now) % interval
      redis.call('ZADD', KEYS[1], due + due % 2, entries[i])
      moved = moved + 1
    end
  end
end
return {scan[1], moved}
