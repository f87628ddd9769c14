-- Let endpoints fall due soon whose due time lies further ahead than their plan allows (the server's time was ahead when it was given): on
-- their grid or, where the interval is longer, on that of a minute.
-- @include times plan
--
-- KEYS  1 due   2 plan
-- ARGV  1 cursor of ZSCAN   2 how many to examine   3 that minute (ms)
-- Returns the next cursor ('0' at the end), how many were moved, and of whom the plan cannot be read.
local now = now_ms()
local scan = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries, moved, broken = scan[2], 0, {}
for i = 1, #entries, 2 do
  local score = tonumber(entries[i + 1])
  local plan = redis.call('HGET', KEYS[2], entries[i])
  if plan then
    local interval, phase, lease, delay, unreadable = plan_of(plan)
    if unreadable then
      broken[#broken + 1] = entries[i]
    elseif score > now + interval + lease + delay then
      redis.call('ZADD', KEYS[1], due_time(now + (phase - now) % math.min(interval, ARGV[3])), entries[i])
      moved = moved + 1
    end
  end
end
return {scan[1], moved, broken}
