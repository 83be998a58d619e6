-- Applies each entity's row as a plain hash of text if its position is greater than the stored one, whole hash at once.
-- KEYS: the online keys. The label is the version. Answers how many rows were applied.
local fields = {'_version', label, '_event_time', '', '_position', ''}
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
    local refused = send('HSET', key, fields, last)
    if refused then return fail(refused, key) end
    if redis.call('HLEN', key) ~= last / 2 then
      redis.call('DEL', key)
      send('HSET', key, fields, last)
    end
    if rows[at + 3] then redis.call('PEXPIRE', key, ttl) else redis.call('PERSIST', key) end
    applied = applied + 1
  end
  at = at + n + 5
end
return applied
