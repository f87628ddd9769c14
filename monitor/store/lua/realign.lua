-- After a step back of the server's time, move what lies ahead in these queues back by as much: it was put there by a wrong time,
-- or comes too early once. A due time stays even, a lease odd (its holder loses it). Processes learn of the step one by one, so what
-- they have put there meanwhile is moved back too, a while later; leases only where they are longer than any is.
-- @include times
--
-- KEYS  1 pace   2... the queues, then keys that live by a time of their own and are deleted
-- ARGV  1 how many queues   2 step_ms   3 '1' where nobody else keeps the pace
--       4 the step (ms) that another pace has seen, which is asked more often: one that was made good meanwhile is seen there alone
--       5 after so many ms everybody knows of the step
-- Returns how many were moved.
local now = now_ms()
local pace = redis.call('HMGET', KEYS[1], 'last', 'back', 'known', 'from', 'by')
local back = number_of(pace[2]) or 0
if ARGV[3] == '1' then
  local ahead = (number_of(pace[1]) or now) - now
  back = back + (ahead > tonumber(ARGV[2]) and ahead or 0)
  redis.call('HSET', KEYS[1], 'last', now)
end
back = math.max(back, number_of(ARGV[4]) or 0)

-- No time can have made these, nor can it reach them.
local impossible = 1e13
local moved = 0
for place = 2, 1 + ARGV[1] do
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[place], impossible, '+inf', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', KEYS[place], at_once(now), member)
    moved = moved + 1
  end
end
local function move(from, by, lease_max)
  for place = 2, 1 + ARGV[1] do
    local ahead = redis.call('ZRANGEBYSCORE', KEYS[place], '(' .. string.format('%.0f', from), '+inf', 'WITHSCORES')
    for i = 1, #ahead, 2 do
      local score = tonumber(ahead[i + 1])
      if not is_lease(score) or score > now + lease_max then
        redis.call('ZADD', KEYS[place], math.max(now - (now + score) % 2, score - by), ahead[i])
        moved = moved + 1
      end
    end
  end
end

local known = number_of(pace[3])
if known and (back > 0 or now >= known) then
  redis.call('HDEL', KEYS[1], 'known', 'from', 'by')
  move(number_of(pace[4]) or now, number_of(pace[5]) or 0, ARGV[5])
end
if back > 0 then
  back = back + back % 2
  redis.call('HDEL', KEYS[1], 'back')
  redis.call('HSET', KEYS[1], 'known', now + ARGV[5], 'from', now + back - 1, 'by', back)
  move(now, back, 0)
  for place = 2 + ARGV[1], #KEYS do
    redis.call('DEL', KEYS[place])
  end
end
return moved
