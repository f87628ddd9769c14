-- Let a pool fall due for weighing. A mark always changes the score, so that whoever is weighing from an earlier reading cannot
-- finish it (store/queues.py: mark).
local function mark_dirty(queue, pool, at)
  local marked = redis.pcall('ZSCORE', queue, pool)
  if type(marked) == 'table' then -- It holds another type.
    redis.call('DEL', queue)
  end
  marked = tonumber(marked or nil)
  at = at - at % 2
  redis.call('ZADD', queue, marked and math.min(at, marked - (2 - marked % 2)) or at, pool)
end
