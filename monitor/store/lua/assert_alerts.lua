-- Take in what subjects assert: their firing alerts stand, those that they assert no longer end, new ones join their groups.
-- An assertion older than the one that was taken in last counts for nothing. But versions begin with the time, and after a step back those
-- of a subject that begins anew are lower than those of its earlier life: where the last one lies ahead, one that is far below it is heard.
-- @include times version write alerts
--
-- KEYS  1 asserted   2 assertions   3 groups   4 to 9 the alert store   10... the group of each membership, in order
-- ARGV  1 ahead_ms, then for each assertion: subject, version (13 digits), at_ms, expires_ms, reason, how many alerts, how many ended;
--         for each of its alerts: fingerprint, alert, starts_ms, ends_ms (0 for none), how many groups;
--           for each of its groups: group, meta, first_flush_ms
--         for each that has ended: fingerprint, alert as it was last, why it ended
-- Returns the groups that this made.
local at = alert_keys(4)
local made = {}
local arg, key = 1, 9
local now = now_ms()

local function take(count)
  arg = arg + count
  return unpack(ARGV, arg - count + 1, arg)
end

while arg < #ARGV do
  local subject, version, at_ms, expires, reason, alerts, ended = take(7)
  local held = redis.call('HGET', KEYS[1], subject)
  local last = version_of(held)
  local current = last <= version or tonumber(last) > now + ARGV[1] and version + ARGV[1] < tonumber(last)
  local now_asserted, names = {}, {}
  for _ = 1, alerts do
    local fingerprint, alert, starts, ends, groups = take(5)
    if current then
      now_asserted[fingerprint] = true
      names[#names + 1] = fingerprint
      redis.call('HSET', at.alerts, fingerprint, version .. alert)
      redis.call('HSET', at.of, fingerprint, subject)
      redis.call('HDEL', at.ended, fingerprint)
      if ends == '0' then
        redis.call('ZADD', at.open, starts, fingerprint)
        redis.call('ZREM', at.ends, fingerprint)
      else
        redis.call('ZADD', at.ends, ends, fingerprint)
        redis.call('ZREM', at.open, fingerprint)
      end
    end
    for _ = 1, groups do
      local group, meta, first_flush = take(3)
      key = key + 1
      if current and join(at, KEYS[3], KEYS[key], group, meta, first_flush, fingerprint) == 1 then
        made[#made + 1] = group
      end
    end
  end
  for _ = 1, ended do
    local fingerprint, alert, why = take(3)
    local fires = redis.call('ZSCORE', at.open, fingerprint) and redis.call('HGET', at.of, fingerprint) == subject
    if current and fires and not now_asserted[fingerprint] then
      redis.call('HSET', at.alerts, fingerprint, version .. alert)
      end_alert(at, subject, fingerprint, tonumber(at_ms), why)
    end
  end
  if current then
    for _, fingerprint in ipairs(fingerprints_of(held)) do
      if not now_asserted[fingerprint] then
        end_alert(at, subject, fingerprint, tonumber(at_ms), reason)
      end
    end
    redis.call('HSET', KEYS[1], subject, version .. table.concat(names, ' '))
    redis.call('ZADD', KEYS[2], due_time(expires), subject)
  end
end
return made
