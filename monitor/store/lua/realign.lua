-- After a step back of the server's time, move what lies ahead in these queues back by as much: it was put there by a wrong time,
-- or comes too early once. A due time stays even, a lease odd (its holder loses it).
-- @include times
--
-- KEYS  1 pace   2... the queues, then keys that live by a time of their own and are deleted
-- ARGV  1 how many queues   2 step_ms   3 '1' where nobody else keeps the pace
--       4 the step (ms) that another pace has seen, which is asked more often: one that was made good meanwhile is seen there alone
-- Returns how many were moved.
local now = now_ms()
local pace = redis.call('HMGET', KEYS[1], 'last', 'back')
local back = number_of(pace[2]) or 0
if ARGV[3] == '1' then
  local ahead = (number_of(pace[1]) or now) - now
  back = back + (ahead > tonumber(ARGV[2]) and ahead or 0)
  redis.call('HSET', KEYS[1], 'last', now)
end
back = math.max(back, number_of(ARGV[4]) or 0)
if back == 0 then
  return 0
end
redis.call('HDEL', KEYS[1], 'back')
back = back + back % 2
local moved = 0
for place = 2, 1 + ARGV[1] do
  local ahead = redis.call('ZRANGEBYSCORE', KEYS[place], '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES')
  for i = 1, #ahead, 2 do
    local score = tonumber(ahead[i + 1])
    redis.call('ZADD', KEYS[place], math.max(now - (now + score) % 2, score - back), ahead[i])
    moved = moved + 1
  end
end
for place = 2 + ARGV[1], #KEYS do
  redis.call('DEL', KEYS[place])
end
return moved
