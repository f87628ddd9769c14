-- An endpoint's plan: interval, phase, lease, delay (ms). One that cannot be read is that of a slow endpoint, until it is made good
-- (replan.lua).
local function plan_of(plan)
  local interval, phase, lease, delay = string.match(plan, '^(%d+):(%d+):(%d+):(%d+)$')
  if not interval or interval + 0 == 0 then
    return 60000, 0, 65000, 0, true
  end
  return interval + 0, phase + 0, lease + 0, delay + 0, false
end
