-- Return the data set's epoch, and begin a larger one where the data set is not the one that the caller has seen: after a restart of
-- the server, which may have lost the last second, and after a flush or an older backup, where the epoch or the count of its
-- publications went back. With a new epoch every published pool falls due, since consumers hold versions of the old one.
-- @include times dirty
--
-- KEYS  1 epoch   2 pools   3 dirty
-- ARGV  1 epoch   2 publications, the largest pair that the caller has seen
-- Returns epoch, publications.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
end
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local held = redis.call('HMGET', KEYS[1], 'run_id', 'epoch', 'publications')
local epoch, publications = number_of(held[2]) or 0, number_of(held[3]) or 0
local seen = tonumber(ARGV[1])
if held[1] == run_id and epoch > 0 and (epoch > seen or epoch == seen and publications >= tonumber(ARGV[2])) then
  return {epoch, publications}
end
local now = now_ms()
epoch = math.max(now, epoch + 1, seen + 1)
redis.call('HSET', KEYS[1], 'run_id', run_id, 'epoch', string.format('%d', epoch), 'publications', 0)
for _, pool in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  mark_dirty(KEYS[3], pool, now)
end
return {epoch, 0}
