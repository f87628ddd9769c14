-- Delete a key that holds a value of another type than its own, where every command on it would be refused for ever. A queue, the plans
-- and an index are filled with the names that other keys hold: due at once, with a plan that cannot be read and is made good by the next
-- realignment (replan.lua).
-- @include times
--
-- KEYS  1 the key   2... keys whose names fill it again
-- ARGV  1 its type
-- Returns 1 where it was deleted.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == ARGV[1] or kind == 'none' then
  return 0
end
redis.call('DEL', KEYS[1])

local function names_in(key)
  local held = redis.call('TYPE', key).ok
  if held == 'hash' then
    return redis.call('HKEYS', key)
  elseif held == 'zset' then
    return redis.call('ZRANGE', key, 0, -1)
  end
  return held == 'set' and redis.call('SMEMBERS', key) or {}
end

local due = at_once(now_ms())
for place = 2, #KEYS do
  for _, name in ipairs(names_in(KEYS[place])) do
    if ARGV[1] == 'zset' then
      redis.call('ZADD', KEYS[1], due, name)
    elseif ARGV[1] == 'hash' then
      redis.call('HSET', KEYS[1], name, '?')
    else
      redis.call('SADD', KEYS[1], name)
    end
  end
end
return 1
