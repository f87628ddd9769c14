-- Write what a group's tick decided, if the tick is still ours.
-- @include times write alerts
--
-- KEYS  1 the group   2 groups   3 deliveries   4 to 9 the alert store   10... one delivery each
-- ARGV  1 group   2 token_ms   3 next_ms   4 meta, '' to leave it   5 how many deliveries   6 how many alerts to drop
--       7... id, service's place in the log, payload, due_ms of each delivery; fingerprint, ends_ms of each alert to drop;
--       service's place, entry of each log entry
-- Returns 1, or 0 when the tick is not ours any more. A service with a delivery in flight gets no second one.
local group = KEYS[1]
if tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0) ~= tonumber(ARGV[2]) then
  return 0
end
local at = alert_keys(4)
if ARGV[4] ~= '' then
  redis.call('HSET', group, 'meta', ARGV[4])
end
local first_drop = 7 + 4 * ARGV[5]
local first_log = first_drop + 2 * ARGV[6]
for i = 1, tonumber(ARGV[5]) do
  local id, place, payload, due = unpack(ARGV, 3 + 4 * i, 6 + 4 * i)
  if redis.call('HSETNX', group, 'd:' .. place, id) == 1 then
    redis.call('HSET', KEYS[9 + i], 'row', payload, 'group', ARGV[1], 'place', place)
    redis.call('ZADD', KEYS[3], due_time(due), id)
  end
end
for i = first_drop, first_log - 1, 2 do
  drop(at, group, ARGV[i], ARGV[i + 1])
end
for i = first_log, #ARGV, 2 do
  redis.call('HSET', group, 'n:' .. ARGV[i], ARGV[i + 1])
end

for _, field in ipairs(redis.call('HKEYS', group)) do
  local kind = string.sub(field, 1, 2)
  if kind == 'a:' or kind == 'd:' then
    redis.call('ZADD', KEYS[2], due_time(ARGV[3]), ARGV[1])
    return 1
  end
end
redis.call('DEL', group)
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
