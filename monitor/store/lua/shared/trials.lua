-- Leased trials of a HALF_OPEN endpoint. Terms: "gen permitted concurrent lease_ms", written with the snapshot. Count: "gen issued lost ok
-- failed"; issued are those that have ended and those that are live: a permit that comes back unused or lost is no more. A live token is
-- the member "gen:token" of a sorted set, and its score the end of its lease.
local CONCURRENT_MAX = 4

local function terms_of(key, endpoint)
  local held = redis.call('TYPE', key).ok == 'hash' and redis.call('HGET', key, endpoint)
  local gen, permitted, concurrent, lease = string.match(held or '', '^(%d+) (%d+) (%d+) (%d+)$')
  if not gen then
    return nil
  end
  return {gen = gen, permitted = permitted + 0, concurrent = math.min(concurrent + 0, CONCURRENT_MAX), lease = lease + 0}
end

local function count_of(key, endpoint, gen)
  local held = redis.call('HGET', key, endpoint) or ''
  local of, _, lost, ok, failed = string.match(held, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  if of ~= gen then -- another generation's, or nobody's
    return {lost = 0, ok = 0, failed = 0}
  end
  return {lost = lost + 0, ok = ok + 0, failed = failed + 0}
end

-- Counts and tokens outlive the terms, which stand at most until the endpoint must have left HALF_OPEN.
local function keep_count(endpoint, terms, count)
  local issued, ttl = count.ok + count.failed + redis.call('ZCARD', KEYS[3]), redis.call('PTTL', KEYS[1])
  local held = string.format('%s %d %d %d %d', terms.gen, issued, count.lost, count.ok, count.failed)
  redis.call('HSET', KEYS[2], endpoint, held)
  for key = 2, 3 do
    if ttl < 0 then
      redis.call('PERSIST', KEYS[key])
    else
      redis.call('PEXPIRE', KEYS[key], ttl + 2 * terms.lease)
    end
  end
end
