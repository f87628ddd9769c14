-- Publish a pool's next version: log entry, snapshot, index and hint, fenced by the epoch and by the log's last id, which the server
-- itself lets only grow.
-- @include times stream
--
-- KEYS  1 snap   2 log   3 pools   4 epoch
-- ARGV  1 epoch   2 ver   3 publications of this epoch that the publisher has seen   4 pool   5 delta   6 snapshot   7 channel
--       8 cap of the log   9 '' , or for a tombstone how long it and the log stay (ms)   10 until when it may be done (ms), 0 for ever
--       11 the version that the delta starts from, '0-0' for nothing
-- Returns how many publications this epoch has had by now, 0 when this version or a newer one is already there, or the one before it is
-- not what the delta starts from, or it is too late, -1 when the epoch is not (any more) the publisher's.
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
if last ~= ARGV[11] and last == ARGV[1] .. '-' .. string.format('%.0f', ARGV[2] - 1) then
  return 0
end
local function add()
  local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[8], version, 'd', ARGV[5])
  return type(added) == 'table' and added.err and added
end
local refused = add()
if refused and (string.find(refused.err, 'equal or smaller', 1, true) or string.find(refused.err, 'exhausted', 1, true)) then
  if #string.match(last, '^%d+') < 16 then
    return 0
  end
  redis.call('DEL', KEYS[2]) -- an epoch that no time can have made
  refused = add()
end
if refused then
  return refused
end
redis.call('SET', KEYS[1], ARGV[6])
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
