-- Write what was judged of a pool's traffic and take the reports out that it folded in, if nobody else judged meanwhile.
-- @include times version stream write
--
-- KEYS  1 traffic   2 reports   3 the queue   4... minutes of the endpoints of which one was closed
-- ARGV  1 pool   2 token_ms   3 version held (13 digits)   4 head with its new version   5 id of the last report folded in, '' for none
--       6 ttl_ms   7 that of minutes   8 how many fields are written   9... id and value of each, then offset and data of each closed
--       minute, then the ids whose fields go
-- Returns 1, or 0 when the lease or the version is another.
if tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or 0) ~= tonumber(ARGV[2]) then
  return 0
end
local held = redis.pcall('HGET', KEYS[1], '') -- Another type holds nothing of ours, and is replaced.
if version_of(type(held) == 'string' and held ~= '' and held or nil) ~= ARGV[3] then
  return 0
end
write('HSET', KEYS[1], '', ARGV[4])
local last_pair = 8 + 2 * ARGV[8]
for first = 9, last_pair, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, last_pair)))
end
for key = 4, #KEYS do
  write('SETRANGE', KEYS[key], ARGV[last_pair + 1], ARGV[last_pair + 2])
  redis.call('PEXPIRE', KEYS[key], ARGV[7])
  last_pair = last_pair + 2
end
for first = last_pair + 1, #ARGV, 1000 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
if ARGV[5] ~= '' and redis.call('TYPE', KEYS[2]).ok == 'stream' then
  local ms, n = string.match(ARGV[5], '^(%d+)-(%d+)$')
  redis.call('XDEL', KEYS[2], ARGV[5])
  redis.call('XTRIM', KEYS[2], 'MINID', ms .. '-' .. n)
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
  -- An id that no time can have made would keep consumers from writing until then.
  if redis.call('XLEN', KEYS[2]) == 0 and tonumber(string.match(last_id(KEYS[2]), '^%d+')) > now_ms() + tonumber(ARGV[6]) then
    redis.call('DEL', KEYS[2])
  end
end
return 1
