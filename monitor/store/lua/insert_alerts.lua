-- Put alerts into groups.
-- An alert lies in its group behind the time of its last update (13 digits), so that an older one cannot replace it.
-- @include times
--
-- KEYS  1 groups   2... one group per insert
-- ARGV  five per insert: group, meta, first_flush_ms, fingerprint, updated_ms (13 digits) and alert
for i = 2, #KEYS do
  local key = KEYS[i]
  local group, meta, first_flush, fingerprint, alert = unpack(ARGV, 5 * i - 9, 5 * i - 5)
  redis.call('HSETNX', key, 'meta', meta)
  redis.call('ZADD', KEYS[1], 'NX', due_time(first_flush), group)
  local held = redis.call('HGET', key, 'a:' .. fingerprint)
  if not held or string.sub(held, 1, 13) <= string.sub(alert, 1, 13) then
    redis.call('HSET', key, 'a:' .. fingerprint, alert)
  end
end
return 1
