-- Write the alert states of a pool or of the system, if nobody else did meanwhile, with the events that follow from them.
-- A pool that is written for the first time is weighed once more: what was sent before it was removed may come after that. One that nobody
-- is to weigh is weighed a while later: this may have been sent long ago, and given up by who sent it.
-- @include version hints times dirty write
--
-- KEYS  1 subjects   2 alerts   3 events   4 dirty   5 subjects whose rules hold an alert
-- ARGV  1 subject, a pool's is "pool:<name>"   2 version held (13 digits)   3 body with its new version, '' to take the subject out   4 cap of alerts
--       5 cap of events   6 1 where its rules hold an alert, else 0   7 after how many ms a pool is weighed again
--       8 how many alerts   9... alerts, then transitions
-- Returns 1, or 0 when the version moved.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if version_of(held) ~= ARGV[2] then
  return 0
end
local pool = string.match(ARGV[1], '^pool:(.*)$')
if pool and not held and ARGV[3] ~= '' then
  mark_dirty(KEYS[4], pool, now_ms())
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  if pool then
    write('ZADD', KEYS[4], 'NX', due_time(now_ms() + ARGV[7]), pool)
  end
end
write(ARGV[3] ~= '' and ARGV[6] == '1' and 'SADD' or 'SREM', KEYS[5], ARGV[1])
for place = 9, #ARGV do
  local alert = place < 9 + ARGV[8]
  write('XADD', KEYS[alert and 2 or 3], 'MAXLEN', '~', ARGV[alert and 4 or 5], '*', 'd', ARGV[place])
end
if tonumber(ARGV[8]) > 0 then
  hint_alerts(KEYS[2])
end
return 1
