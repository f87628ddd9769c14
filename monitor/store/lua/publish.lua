-- Publish a pool's next version: log entry, snapshot, terms of trials, index and hint, fenced by the epoch and by the log's last id, which
-- the server itself lets only grow.
-- @include times stream
--
-- KEYS  1 snap   2 log   3 pools   4 epoch   5 trials   6 trials:issued
-- ARGV  1 epoch   2 ver   3 publications of this epoch that the publisher has seen   4 pool   5 delta   6 snapshot   7 channel
--       8 cap of the log   9 '' , or for a tombstone how long it and the log stay (ms)   10 until when it may be done (ms), 0 for ever
--       11 the log's last id as the publisher read it, '0-0' for none
--       12 who may try which endpoint, as MessagePack: [id, terms, id, terms ...]   13 how long that stands (ms)
-- Returns how many publications this epoch has had by now, 0 when this version or a newer one is already there, or another one than the
-- publisher knew of, or it is too late, -1 when the epoch is not (any more) the publisher's.
local held = redis.call('HMGET', KEYS[4], 'epoch', 'publications')
if tonumber(held[1] or 0) ~= tonumber(ARGV[1]) or tonumber(held[2] or 0) < tonumber(ARGV[3]) then
  return -1
end
if tonumber(ARGV[10]) > 0 and now_ms() > tonumber(ARGV[10]) then
  return 0
end
local version = ARGV[1] .. '-' .. ARGV[2]
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'stream' and kind ~= 'none' then -- somebody else's value: it would hold up this pool for ever
  redis.call('DEL', KEYS[2])
end
local last = last_id(KEYS[2])
local epoch, ver = string.match(last, '^(%d+)-(%d+)$')
if #epoch >= 16 or #ver >= 16 then
  redis.call('DEL', KEYS[2]) -- an epoch or a version that no time can have made: whoever reads it takes it for none
  last = '0-0'
end
if last ~= ARGV[11] then
  return 0
end
local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[8], version, 'd', ARGV[5])
if type(added) == 'table' and added.err then
  return string.find(added.err, 'equal or smaller', 1, true) and 0 or added
end
redis.call('SET', KEYS[1], ARGV[6])
redis.call('DEL', KEYS[5])
local terms = cmsgpack.unpack(ARGV[12])
for first = 1, #terms, 1000 do
  redis.call('HSET', KEYS[5], unpack(terms, first, math.min(first + 999, #terms)))
end
if #terms > 0 then
  redis.call('PEXPIRE', KEYS[5], ARGV[13])
else
  redis.call('DEL', KEYS[6])
end
if ARGV[9] == '' then
  redis.call('PERSIST', KEYS[2])
  redis.call('SADD', KEYS[3], ARGV[4])
else
  redis.call('SREM', KEYS[3], ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[9])
  redis.call('PEXPIRE', KEYS[2], ARGV[9])
end
redis.call('PUBLISH', ARGV[7], version)
return redis.call('HINCRBY', KEYS[4], 'publications', 1)
