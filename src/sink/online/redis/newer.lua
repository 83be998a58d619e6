-- What both scripts begin with: newer wins, decided inside Redis.
-- ARGV[1], once a call: {generation, refresh or false, label, empty ttl in ms, number of columns n, n names}. ARGV[2], n + 5
-- values an entity: {offset, sequence, whether all features are empty, position, event time, n values, false for null}.
local head = cmsgpack.unpack(ARGV[1])
local rows = cmsgpack.unpack(ARGV[2])
local generation, refresh, label, ttl, n = head[1], head[2], head[3], head[4], head[5]

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
local function send(command, key, values, last)
  for from = 1, last, 4000 do
    local answer = redis.pcall(command, key, unpack(values, from, math.min(from + 3999, last)))
    if type(answer) == 'table' and answer.err then return answer end
  end
end

