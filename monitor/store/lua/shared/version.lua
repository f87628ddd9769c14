-- The version before a body (13 digits): zeros for nothing, a version of its own for what has none that can be read.
local function version_of(held)
  if not held then
    return '0000000000000'
  end
  return string.match(held, '^%d%d%d%d%d%d%d%d%d%d%d%d%d') or '-000000000001'
end

-- Let the version of a record move on, so that a decision in flight is refused; there is one with an empty body where none was.
-- What has no version that can be read is kept as the body of one that has.
local function move_version(records, id, now)
  local held = redis.call('HGET', records, id) or ''
  local version = string.match(held, '^%d%d%d%d%d%d%d%d%d%d%d%d%d')
  local body = version and string.sub(held, 14) or held
  redis.call('HSET', records, id, string.format('%013d', math.max((tonumber(version) or 0) + 1, now)) .. body)
end
