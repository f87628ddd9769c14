-- Take away what is left of a removed endpoint, and write the alert events that end its alerts.
-- @include version hints write
--
-- KEYS  1 spec   2 rec   3 reevaluate   4 alerts   5 mem   6 alerting   7... its ring, rollups and own log
-- ARGV  1 id   2 version held (13 digits)   3 cap of alerts   4... alert events
-- Returns 1, or 0 when the endpoint is registered again or its record has moved.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  return 0
end
local held = redis.call('HGET', KEYS[2], ARGV[1])
if held and version_of(held) ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('SREM', KEYS[6], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', unpack(KEYS, 7))
for place = 4, #ARGV do
  write('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*', 'd', ARGV[place])
end
if #ARGV > 3 then
  hint_alerts(KEYS[4])
end
return 1
