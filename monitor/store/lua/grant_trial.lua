-- Lease one trial of a HALF_OPEN endpoint to whoever asks. A token is asked for again after a lost answer: it is leased once.
-- @include times write trials
--
-- KEYS  1 trials   2 trials:issued   3 trial:<endpoint>
-- ARGV  1 endpoint   2 token: "<observer>/<what nobody else says>"
-- Returns 'granted', gen, lease_ms, the end of the lease (server ms); or why not: 'none' (nobody may try it), 'busy' (enough do now),
-- 'spent' (enough have).
replaceable({[2] = 'hash', [3] = 'zset'})
local terms = terms_of(KEYS[1], ARGV[1])
if not terms then
  return {'none'}
end
local now, count = now_ms(), count_of(KEYS[2], ARGV[1], terms.gen)
local member, live = terms.gen .. ':' .. ARGV[2], redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
local trying, mine, changed = 0, nil, false
for i = 1, #live, 2 do
  local lease_end = tonumber(live[i + 1])
  if string.match(live[i], '^(%d+):') ~= terms.gen then
    redis.call('ZREM', KEYS[3], live[i]) -- what it finds is of another life of the breaker
  elseif lease_end <= now then
    redis.call('ZREM', KEYS[3], live[i])
    count.lost, changed = count.lost + 1, true
  else
    if lease_end > now + terms.lease then -- the time has stepped back
      lease_end = now + terms.lease
      redis.call('ZADD', KEYS[3], lease_end, live[i])
    end
    trying = trying + 1
    if live[i] == member then
      mine = lease_end
    end
  end
end
local why = nil
if not mine then
  local ramp = count.ok == 0 and 1 or count.ok == 1 and 2 or 4
  if trying >= math.min(terms.concurrent, ramp) then
    why = 'busy'
  elseif count.ok + count.failed + trying >= terms.permitted then
    why = 'spent'
  else
    mine, changed = now + terms.lease, true
    redis.call('ZADD', KEYS[3], mine, member)
  end
end
if changed then
  keep_count(ARGV[1], terms, count)
end
if why then
  return {why}
end
return {'granted', terms.gen + 0, terms.lease, mine}
