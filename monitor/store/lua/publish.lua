-- Publish a pool's next version: log entry, snapshot, hint. The server itself refuses a log entry whose id is not larger.
--
-- KEYS  1 snap   2 log
-- ARGV  1 <epoch>-<ver>   2 delta   3 snapshot   4 channel   5 cap of the log
-- Returns 1, or 0 when this version or a newer one is already there.
local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], ARGV[1], 'd', ARGV[2])
if type(added) == 'table' and added.err then
  if string.find(added.err, 'equal or smaller', 1, true) then
    return 0
  end
  return added
end
redis.call('PERSIST', KEYS[2])
redis.call('SET', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[1])
return 1
