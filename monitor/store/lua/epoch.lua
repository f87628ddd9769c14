-- Return the epoch of this run of the server; a new run gets a new and larger one.
--
-- KEYS  1 epoch
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local known = redis.call('HMGET', KEYS[1], 'run_id', 'epoch')
if known[1] == run_id then
  return tonumber(known[2])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = math.max(now, tonumber(known[2] or 0) + 1)
redis.call('HSET', KEYS[1], 'run_id', run_id, 'epoch', epoch)
return epoch
