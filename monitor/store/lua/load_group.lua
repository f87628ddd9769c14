-- Read a group, with its alerts as they stand. A delivery in flight that is in the outbox no more is none, and is forgotten.
-- @include alerts
--
-- KEYS  1 the group   2 to 7 the alert store   8 deliveries
-- Returns the group's fields and values, and for each of its alerts: fingerprint, version and alert ('' where there is none),
-- subject, ends_ms or 0, reason.
local at = alert_keys(2)
local fields = redis.call('HGETALL', KEYS[1])
local group, rows = {}, {}
for i = 1, #fields, 2 do
  local field = fields[i]
  if string.sub(field, 1, 2) == 'a:' then
    local fingerprint = string.sub(field, 3)
    rows[#rows + 1] = fingerprint
    rows[#rows + 1] = redis.call('HGET', at.alerts, fingerprint) or ''
    rows[#rows + 1] = redis.call('HGET', at.of, fingerprint) or ''
    rows[#rows + 1] = tonumber(redis.call('ZSCORE', at.ends, fingerprint) or 0)
    rows[#rows + 1] = redis.call('HGET', at.ended, fingerprint) or ''
  elseif string.sub(field, 1, 2) == 'd:' and not redis.call('ZSCORE', KEYS[8], fields[i + 1]) then
    redis.call('HDEL', KEYS[1], field)
  else
    group[#group + 1] = field
    group[#group + 1] = fields[i + 1]
  end
end
return {group, rows}
