-- Take a delivery that was accepted, given up or superseded off the queue, and write what follows for its group.
-- @include times write alerts
--
-- KEYS  1 the group   2 groups   3 deliveries   4 the delivery   5 sent   6 to 11 the alert store
-- ARGV  1 group   2 delivery   3 token_ms   4 service's place in the log   5 log entry, '' to leave it   6 entry of sent
--       7 cap of sent   8 1 to let the group fall due at once   9... fingerprint, ends_ms of each alert to drop
-- Returns 1, or 0 when the lease is not ours any more.
local group = KEYS[1]
if tonumber(redis.call('ZSCORE', KEYS[3], ARGV[2]) or 0) ~= tonumber(ARGV[3]) then
  return 0
end
local at = alert_keys(6)
write('XADD', KEYS[5], 'MAXLEN', '~', ARGV[7], '*', 'd', ARGV[6])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[4])
if redis.call('HGET', group, 'd:' .. ARGV[4]) == ARGV[2] then
  redis.call('HDEL', group, 'd:' .. ARGV[4])
end
if redis.call('EXISTS', group) == 1 and ARGV[5] ~= '' then
  redis.call('HSET', group, 'n:' .. ARGV[4], ARGV[5])
end

local function any(kind)
  for _, field in ipairs(redis.call('HKEYS', group)) do
    if string.sub(field, 1, 2) == kind then
      return true
    end
  end
  return false
end

if not any('d:') then
  for i = 9, #ARGV, 2 do
    drop(at, group, ARGV[i], ARGV[i + 1])
  end
  if not any('a:') then
    redis.call('DEL', group)
    redis.call('ZREM', KEYS[2], ARGV[1])
    return 1
  end
end
if ARGV[8] == '1' then
  redis.call('ZADD', KEYS[2], 'XX', at_once(now_ms()), ARGV[1])
end
return 1
