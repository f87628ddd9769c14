-- Read alerts from the alert store.
-- @include times alerts
--
-- KEYS  1 to 6 the alert store
-- ARGV  1 which: firing (those that began first), resolved (those that ended last), named   2 limit   3... fingerprints of `named`
-- Returns for each: fingerprint, version and alert, subject, ends_ms or 0, reason.
local at = alert_keys(1)
local which, limit = ARGV[1], tonumber(ARGV[2])
local found = {}
if which == 'firing' then
  found = redis.call('ZRANGE', at.open, 0, limit - 1)
  for _, fingerprint in ipairs(redis.call('ZRANGEBYSCORE', at.ends, '(' .. now_ms(), '+inf', 'LIMIT', 0, limit - #found)) do
    found[#found + 1] = fingerprint
  end
elseif which == 'resolved' then
  found = redis.call('ZREVRANGEBYSCORE', at.ends, now_ms(), '-inf', 'LIMIT', 0, limit)
else
  for place = 3, #ARGV do
    found[#found + 1] = ARGV[place]
  end
end
local rows = {}
for _, fingerprint in ipairs(found) do
  local alert = redis.call('HGET', at.alerts, fingerprint)
  if alert then
    rows[#rows + 1] = fingerprint
    rows[#rows + 1] = alert
    rows[#rows + 1] = redis.call('HGET', at.of, fingerprint) or ''
    rows[#rows + 1] = tonumber(redis.call('ZSCORE', at.ends, fingerprint) or 0)
    rows[#rows + 1] = redis.call('HGET', at.ended, fingerprint) or ''
  end
end
return rows
