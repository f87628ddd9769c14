-- End the alerts of a subject that nobody asserts any more, if its place in the queue is still ours. A subject of which nothing
-- fired is forgotten; that of another stays until `next_ms`, so that an older assertion that comes late is known for what it is.
-- @include times write alerts
--
-- KEYS  1 asserted   2 assertions   3 to 8 the alert store
-- ARGV  1 subject   2 token_ms   3 at_ms   4 reason   5 next_ms
-- Returns how many alerts ended, or -1 when the lease is not ours any more.
if tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0) ~= tonumber(ARGV[2]) then
  return -1
end
local at = alert_keys(3)
local asserted = redis.call('HGET', KEYS[1], ARGV[1])
local found = fingerprints_of(asserted)
if #found == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 0
end
for _, fingerprint in ipairs(found) do
  end_alert(at, ARGV[1], fingerprint, tonumber(ARGV[3]), ARGV[4])
end
redis.call('HSET', KEYS[1], ARGV[1], string.sub(asserted, 1, 13))
redis.call('ZADD', KEYS[2], due_time(ARGV[5]), ARGV[1])
return #found
