-- End a leased trial: say how it went, or give the permit back unused. The result and its entry among the reports are one step.
-- @include times write trials
--
-- KEYS  1 trials   2 trials:issued   3 trial:<endpoint>   4 reports
-- ARGV  1 endpoint   2 gen   3 token   4 outcome   5 duration_ms   6 HTTP status, '' for none   7 observer   8 cap of the reports
-- Returns 'counted'; 'released' for an outcome that judges nobody (any but success, failure and timeout); 'stale' when the breaker has
-- moved on; 'lost' when the lease is over, or the token was ended before.
replaceable({[2] = 'hash', [3] = 'zset'})
local terms, member = terms_of(KEYS[1], ARGV[1]), ARGV[2] .. ':' .. ARGV[3]
local lease_end = tonumber(redis.call('ZSCORE', KEYS[3], member) or nil)
if not terms or terms.gen ~= ARGV[2] then
  redis.call('ZREM', KEYS[3], member)
  return 'stale'
end
if not lease_end then
  return 'lost'
end
local count, answer, outcome = count_of(KEYS[2], ARGV[1], terms.gen), 'counted', ARGV[4]
if lease_end <= now_ms() then
  count.lost, answer = count.lost + 1, 'lost'
elseif outcome ~= 'success' and outcome ~= 'failure' and outcome ~= 'timeout' then
  answer = 'released'
else
  local trial = {
    endpoint = ARGV[1],
    gen = terms.gen + 0,
    outcome = outcome,
    duration_ms = tonumber(string.match(ARGV[5], '^%d+%.?%d*$') or 0),
    code = tonumber(string.match(ARGV[6], '^[1-9]%d%d$') or nil),
    observer = ARGV[7],
  }
  write('XADD', KEYS[4], 'MAXLEN', '~', ARGV[8], '*', 'r', cjson.encode({schema = 1, trial = trial}))
  if outcome == 'success' then
    count.ok = count.ok + 1
  else
    count.failed = count.failed + 1
  end
end
redis.call('ZREM', KEYS[3], member)
keep_count(ARGV[1], terms, count)
return answer
