-- Write to a key. Nothing of ours is in one that holds another type, or a stream that can take no further entry: it is replaced, so that
-- it cannot keep the rest from being written.
local function write(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'WRONGTYPE', 1, true) or string.find(answer.err, 'exhausted', 1, true) then
      redis.call('DEL', key)
    end
    return redis.call(command, key, ...)
  end
  return answer
end

-- Let keys that our processes fill again be empty where they hold another type, before anything is written: `kinds` are types by place.
local function replaceable(kinds)
  for place, kind in pairs(kinds) do
    local held = redis.call('TYPE', KEYS[place]).ok
    if held ~= kind and held ~= 'none' then
      redis.call('DEL', KEYS[place])
    end
  end
end
