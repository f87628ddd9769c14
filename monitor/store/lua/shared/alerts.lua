-- The alert store: each alert stands once, by its fingerprint, and goes when it has ended and no group refers to it any more.
-- `first` is the place of the first of its six keys: alerts, of, held, open, ends, ended (store/keys.py).
local function alert_keys(first)
  return {
    alerts = KEYS[first],
    of = KEYS[first + 1],
    held = KEYS[first + 2],
    open = KEYS[first + 3],
    ends = KEYS[first + 4],
    ended = KEYS[first + 5],
  }
end

local function let_go(at, fingerprint)
  if not redis.call('HGET', at.held, fingerprint) and not redis.call('ZSCORE', at.open, fingerprint) then
    redis.call('HDEL', at.alerts, fingerprint)
    redis.call('HDEL', at.of, fingerprint)
    redis.call('HDEL', at.ended, fingerprint)
    redis.call('ZREM', at.ends, fingerprint)
  end
end

-- An end does not lie ahead: whoever says so does not know yet that the time has stepped back.
local function end_alert(at, subject, fingerprint, at_ms, reason)
  at_ms = math.min(at_ms, now_ms())
  local ends = tonumber(redis.call('ZSCORE', at.ends, fingerprint) or nil)
  if redis.call('HGET', at.of, fingerprint) ~= subject then
    return -- another subject says it now
  end
  redis.call('ZREM', at.open, fingerprint)
  if not ends or ends > at_ms then
    redis.call('ZADD', at.ends, at_ms, fingerprint)
    if reason ~= '' then
      redis.call('HSET', at.ended, fingerprint, reason)
    end
  end
  let_go(at, fingerprint)
end

-- How many groups refer to an alert after so many more do. A count that is no number begins anew, with at least this one.
local function count_held(at, fingerprint, more)
  local held = number_of(redis.call('HGET', at.held, fingerprint)) or 0
  redis.call('HSET', at.held, fingerprint, math.max(held + more, 0))
  return held + more
end

-- Take an alert into a group; returns 1 when this made the group.
local function join(at, groups, group_key, group, meta, first_flush, fingerprint)
  write('HSETNX', group_key, 'meta', meta)
  if redis.call('HSETNX', group_key, 'a:' .. fingerprint, '') == 1 then
    count_held(at, fingerprint, 1)
  end
  return redis.call('ZADD', groups, 'NX', due_time(first_flush), group)
end

-- Take an alert out of a group, if it still ends when the caller read it to (0: it does not).
local function drop(at, group_key, fingerprint, ends)
  if tonumber(redis.call('ZSCORE', at.ends, fingerprint) or 0) ~= tonumber(ends) then
    return
  end
  if redis.call('HDEL', group_key, 'a:' .. fingerprint) == 1 then
    if count_held(at, fingerprint, -1) <= 0 then
      redis.call('HDEL', at.held, fingerprint)
    end
    let_go(at, fingerprint)
  end
end

-- The space-separated fingerprints behind a subject's version.
local function fingerprints_of(asserted)
  local found = {}
  for fingerprint in string.gmatch(string.sub(asserted or '', 14), '%S+') do
    found[#found + 1] = fingerprint
  end
  return found
end
