-- Newer wins: applies each entity's row if its position is greater than the stored one, whole hash at once.
-- KEYS: the online keys. ARGV[1], once a call: {generation, refresh or false, version, empty ttl in ms, number of
-- features n, n names}. ARGV[2], n + 5 values an entity: {offset, sequence, whether all features are empty, _position,
-- _event_time, n texts, false for null}. Answers how many rows were applied.
local head = cmsgpack.unpack(ARGV[1])
local rows = cmsgpack.unpack(ARGV[2])
local generation, refresh, version, ttl, n = head[1], head[2], head[3], head[4], head[5]

local function fail(answer, key)
  return redis.error_reply(answer.err .. ' (key ' .. key .. ')')
end

local function is_newer(stored, offset, sequence)
  local g, o, s, r = string.match(stored, '^(%d+):%-?%d+:(%-?%d+):(%-?%d+):?(%-?%d*)$')
  if not g then return true end
  g = tonumber(g)
  if g ~= generation then return generation > g end
  o = tonumber(o)
  if o ~= offset then return offset > o end
  s = tonumber(s)
  if s ~= sequence then return sequence > s end
  r = tonumber(r)
  return refresh and (not r or refresh > r)
end

-- Lua hands over no more than some 8,000 values at once. Answers the error, if there is one.
local function put(key, fields, last)
  for from = 1, last, 4000 do
    local answer = redis.pcall('HSET', key, unpack(fields, from, math.min(from + 3999, last)))
    if type(answer) == 'table' and answer.err then return answer end
  end
end

local fields = {'_version', version, '_event_time', '', '_position', ''}
local applied = 0
local at = 0
for i = 1, #KEYS do
  local key = KEYS[i]
  local stored = redis.pcall('HGET', key, '_position')
  if type(stored) == 'table' and stored.err then return fail(stored, key) end
  if not stored or is_newer(stored, rows[at + 1], rows[at + 2]) then
    fields[4], fields[6] = rows[at + 5], rows[at + 4]
    local last = 6
    for f = 1, n do
      local text = rows[at + 5 + f]
      if text then
        fields[last + 1], fields[last + 2] = head[5 + f], text
        last = last + 2
      end
    end
    -- In place first: a server out of memory refuses this, and then nothing is lost; after a DEL it would not. Fields
    -- that the row does not have (null, or a feature of before) show in the length.
    local refused = put(key, fields, last)
    if refused then return fail(refused, key) end
    if redis.call('HLEN', key) ~= last / 2 then
      redis.call('DEL', key)
      put(key, fields, last)
    end
    if rows[at + 3] then redis.call('PEXPIRE', key, ttl) else redis.call('PERSIST', key) end
    applied = applied + 1
  end
  at = at + n + 5
end
return applied
