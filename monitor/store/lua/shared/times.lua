-- The server's time, and times as scores: a due time is even, the token of a lease odd (store/queues.py).
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A stored count or time; nil for nothing, and for what is no such number.
local function number_of(held)
  return held and #held <= 15 and tonumber(string.match(held, '^%d+$')) or nil
end

local function due_time(at)
  return at + at % 2
end

local function at_once(now)
  return now - now % 2
end

local function lease_token(at)
  return at + 1 - at % 2
end

local function is_lease(score)
  return score % 2 == 1
end
