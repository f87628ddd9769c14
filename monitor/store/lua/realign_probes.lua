-- Let endpoints fall due soon whose due time lies further ahead than their plan allows (the server's time was ahead when it was given): on
-- their grid or, where the interval is longer, on that of a minute. Whose due time is not on its grid goes on waiting from where it was when
-- that time stepped back; the grid itself stands.
-- @include times plan
--
-- KEYS  1 due   2 plan
-- ARGV  1 cursor of ZSCAN   2 how many to examine   3 that minute (ms)   4 the step (ms), once
-- Returns the next cursor ('0' at the end), how many were moved, and of whom the plan cannot be read.
local now, minute, back = now_ms(), tonumber(ARGV[3]), tonumber(ARGV[4])

local function soon(from, phase, interval)
  return due_time(from + (phase - from) % math.min(interval, minute))
end

local scan = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries, moved, broken = scan[2], 0, {}
for i = 1, #entries, 2 do
  local score = tonumber(entries[i + 1])
  local plan = redis.call('HGET', KEYS[2], entries[i])
  if plan then
    local interval, phase, lease, delay, unreadable = plan_of(plan)
    if unreadable then
      broken[#broken + 1] = entries[i]
    else
      local due = score
      if score > now + interval + lease + delay then
        due = soon(now, phase, interval)
      elseif back > 0 and score > now and not is_lease(score) and (score - phase) % interval > 1 then
        due = math.min(score, soon(math.max(now, score - back), phase, interval))
      end
      if due ~= score then
        redis.call('ZADD', KEYS[1], due, entries[i])
        moved = moved + 1
      end
    end
  end
end
return {scan[1], moved, broken}
