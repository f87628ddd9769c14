-- Leased trials of a HALF_OPEN endpoint. Terms: "gen permitted concurrent lease_ms", written with the snapshot. Count: "gen issued lost ok
-- failed"; a permit that comes back unused or lost is not issued any more. A live token is the member "gen:token" of a sorted set, and
-- its score the end of its lease.
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
  local of, issued, lost, ok, failed = string.match(held, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  if of ~= gen then -- another generation's, or nobody's
    return {issued = 0, lost = 0, ok = 0, failed = 0}
  end
  return {issued = issued + 0, lost = lost + 0, ok = ok + 0, failed = failed + 0}
end

-- The counts outlive the terms by a lease, and a token never its lease by more than that.
local function keep_count(key, endpoint, terms, count, terms_key)
  local issued = math.max(count.issued, 0)
  local held = string.format('%s %d %d %d %d', terms.gen, issued, count.lost, count.ok, count.failed)
  redis.call('HSET', key, endpoint, held)
  redis.call('PEXPIRE', key, math.max(redis.call('PTTL', terms_key), 0) + 2 * terms.lease)
end
