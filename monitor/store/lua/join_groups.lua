-- Take alerts that stand in the alert store into groups.
-- @include times write alerts
--
-- KEYS  1 groups   2 to 7 the alert store   8... one group each
-- ARGV  for each: fingerprint, group, meta, first_flush_ms
-- Returns the groups that this made.
local at = alert_keys(2)
local made = {}
for i = 8, #KEYS do
  local fingerprint, group, meta, first_flush = unpack(ARGV, 4 * i - 31, 4 * i - 28)
  if redis.call('HEXISTS', at.alerts, fingerprint) == 1 then
    if join(at, KEYS[1], KEYS[i], group, meta, first_flush, fingerprint) == 1 then
      made[#made + 1] = group
    end
  end
end
return made
