-- Take the oldest alert events of one slot. One holder at a time, so that an old event never comes after a newer one.
-- @include times
--
-- KEYS  1 alerts   2 routing
-- ARGV  1 limit   2 lease_ms
-- Returns token_ms and the entries; 0 and none when there is none or another holds the stream.
local left = redis.call('PTTL', KEYS[2])
if left >= 0 and left <= tonumber(ARGV[2]) then -- A hold that lasts longer is none of ours.
  return {0, {}}
end
local entries = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])
if #entries == 0 then
  return {0, entries}
end
local token = lease_token(now_ms() + ARGV[2])
redis.call('SET', KEYS[2], token, 'PX', ARGV[2])
return {token, entries}
