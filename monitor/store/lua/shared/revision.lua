-- Tell whoever caches a slot's endpoints and pools that some have changed. At least the time, so that a server which has lost its data
-- does not count the same revisions again. Returns it.
local function move_revision(key, now)
  local revision = math.max((number_of(redis.call('GET', key)) or 0) + 1, now)
  redis.call('SET', key, string.format('%d', revision))
  return revision
end
