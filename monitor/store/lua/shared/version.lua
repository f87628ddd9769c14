-- The version before a body (13 digits): zeros for nothing, a version of its own for what has none that can be read.
local function version_of(held)
  if not held then
    return '0000000000000'
  end
  return string.match(held, '^%d%d%d%d%d%d%d%d%d%d%d%d%d') or '-000000000001'
end
