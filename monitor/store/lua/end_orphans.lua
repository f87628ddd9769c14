-- End alerts that fire and that no subject's last assertion names: what it asserted, or when, was lost.
-- @include times write alerts
--
-- KEYS  1 asserted   2 assertions   3 to 8 the alert store
-- ARGV  1 cursor of ZSCAN   2 how many to examine   3 at_ms   4 reason
-- Returns the next cursor ('0' at the end) and how many were ended.
local at = alert_keys(3)
local scan = redis.call('ZSCAN', at.open, ARGV[1], 'COUNT', ARGV[2])
local ended, named = 0, {}
for i = 1, #scan[2], 2 do
  local fingerprint = scan[2][i]
  local subject = redis.call('HGET', at.of, fingerprint)
  if subject and not named[subject] then
    named[subject] = {}
    if redis.call('ZSCORE', KEYS[2], subject) then
      for _, one in ipairs(fingerprints_of(redis.call('HGET', KEYS[1], subject))) do
        named[subject][one] = true
      end
    end
  end
  if not (subject and named[subject][fingerprint]) then
    end_alert(at, subject, fingerprint, tonumber(ARGV[3]), ARGV[4])
    ended = ended + 1
  end
end
return {scan[1], ended}
