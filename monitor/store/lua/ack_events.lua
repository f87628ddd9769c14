-- Delete alert events that are in their groups, and give the stream back, if it is still ours.
--
-- KEYS  1 alerts   2 routing
-- ARGV  1 token_ms   2... entry ids
-- Returns 1, or 0 when the stream is not ours any more.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
if #ARGV > 1 then
  redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
end
redis.call('DEL', KEYS[2])
return 1
