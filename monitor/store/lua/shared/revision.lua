-- Tell whoever caches a slot's endpoints and pools that some have changed. At least the time, so that a server which has lost its data
-- does not count the same revisions again.
local function move_revision(key, now)
  redis.call('SET', key, string.format('%d', math.max((number_of(redis.call('GET', key)) or 0) + 1, now)))
end
