-- Keep copies of what could not be read, up to a cap; a copy that is there already is replaced.
--
-- KEYS  1 aside
-- ARGV  1 cap   2... field, copy of each
for i = 2, #ARGV, 2 do
  if redis.call('HLEN', KEYS[1]) < tonumber(ARGV[1]) or redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
