-- Write to a key. Nothing of ours is in one that holds another type: it is replaced, so that it cannot keep the rest from being written.
local function write(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'WRONGTYPE', 1, true) then
      redis.call('DEL', key)
    end
    redis.call(command, key, ...)
  end
end
