-- Tell the alert workers that a slot's stream has events (store/keys.py: HINTS). A hint only: the stream is the truth.
local function hint_alerts(stream)
  redis.call('PUBLISH', 'wk:i:hints', 'alerts ' .. string.match(stream, '{s(%d+)}'))
end
