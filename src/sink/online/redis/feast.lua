-- Applies each entity's row in Feast's own form if its position is greater than the stored one. KEYS: Feast's keys. The
-- label is the feature view, names are Feast's of the features (4 bytes), values its messages. A hash is shared by all views
-- with the same join keys, so each view has its own guard, a field that Feast never reads: `_kappa:{view}` = position, blank,
-- version, blank, `e` when all features are empty or else `-`, the names of all features. A position comes with its version.
-- Answers how many rows were applied.
local ts, guard = '_ts:' .. label, '_kappa:' .. label
local names = table.concat(head, '', 6, 5 + n)
local is_own = {}
for f = 1, n do is_own[head[5 + f]] = true end

-- Features of before, which this version no longer has.
local function add_gone(gone, kept)
  for from = 1, #kept, 4 do
    local name = string.sub(kept, from, from + 3)
    if not is_own[name] then gone[#gone + 1] = name end
  end
end

-- Whether every view of the hash is one of ours that shows nothing.
local function all_views_are_empty(key)
  local views, guards = 0, {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 4) == '_ts:' then views = views + 1 end
    if string.sub(field, 1, 7) == '_kappa:' then guards[#guards + 1] = field end
  end
  if #guards ~= views then return false end
  for _, stored in ipairs(redis.call('HMGET', key, unpack(guards))) do
    if not string.find(stored, '^%S+ %S+ e') then return false end
  end
  return true
end

local applied = 0
local at = 0
for i = 1, #KEYS do
  local key = KEYS[i]
  local stored = redis.pcall('HMGET', key, guard, ts)
  if stored.err then return fail(stored, key) end
  -- Without its time the view is gone: Feast removes a view that is no longer in its repository.
  local position, kept
  if stored[1] and stored[2] then position, kept = string.match(stored[1], '^(%S+) %S+ .(.*)$') end
  if not position or is_newer(position, rows[at + 1], rows[at + 2]) then
    local is_empty = rows[at + 3]
    local fields = {ts, rows[at + 5], guard, rows[at + 4] .. (is_empty and ' e' or ' -') .. names}
    local last, gone = 4, {}
    for f = 1, n do
      local value = rows[at + 5 + f]
      if value then
        fields[last + 1], fields[last + 2] = head[5 + f], value
        last = last + 2
      else
        gone[#gone + 1] = head[5 + f]
      end
    end
    local refused = send('HSET', key, fields, last)
    if refused then return fail(refused, key) end
    if kept and kept ~= names then add_gone(gone, kept) end
    send('HDEL', key, gone, #gone)
    if not is_empty then
      redis.call('PERSIST', key)
    elseif redis.call('HLEN', key) == last / 2 or all_views_are_empty(key) then
      -- Another view's time may be longer.
      if redis.call('PTTL', key) < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end
    end
    applied = applied + 1
  end
  at = at + n + 5
end
return applied
