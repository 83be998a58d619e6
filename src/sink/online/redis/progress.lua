-- Advances the published progress of a partition; never takes it back.
-- KEYS[1]: the progress hash. ARGV: the partition's field, the new progress (JSON), what was acknowledged before (JSON,
-- or empty), what it vouches for: servers and forms (or empty). Answers 1 when written, 0 when a newer one stands there, and -1
-- when the stored one is missing or behind what was acknowledged: the server has lost data, and nothing is written.
local function is_behind(a, b)
  if a.generation ~= b.generation then return a.generation < b.generation end
  if a.next_offset ~= b.next_offset then return a.next_offset < b.next_offset end
  if b.watermark == cjson.null then return false end
  return a.watermark == cjson.null or a.watermark < b.watermark
end

local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored then
  local is_json, decoded = pcall(cjson.decode, stored)
  stored = is_json and decoded
end
if ARGV[3] ~= '' and (not stored or is_behind(stored, cjson.decode(ARGV[3]))) then return -1 end
local progress = cjson.decode(ARGV[2])
if stored and is_behind(progress, stored) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1] .. ':servers', ARGV[4])
else
  redis.call('HDEL', KEYS[1], ARGV[1] .. ':servers')
end
return 1
