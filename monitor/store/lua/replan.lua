-- Make good a plan that cannot be read, so that its endpoint is due by it at once; without a plan its name goes from the queue.
-- @include times plan
--
-- KEYS  1 due   2 plan
-- ARGV  1 id   2 plan, '' to take the name out
-- Returns 1, or 0 where the plan can be read by now or is gone.
local held = redis.call('HGET', KEYS[2], ARGV[1])
if not held or not select(5, plan_of(held)) then
  return 0
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[1], at_once(now_ms()), ARGV[1])
end
return 1
