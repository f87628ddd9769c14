-- Write the evaluators' heartbeat, unless a later one is there.
--
-- KEYS  1 alive
-- ARGV  1 the server's time (ms) that it speaks of   2 heartbeat   3 ttl_ms
-- Returns 1, or 0 when a later one is there. One that is later by more than its own TTL was written before the clock was put right.
local held = tonumber(string.match(redis.call('GET', KEYS[1]) or '', '^%d+') or 0)
if held > tonumber(ARGV[1]) and held - ARGV[1] <= tonumber(ARGV[3]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
