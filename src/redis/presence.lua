-- Changes which names of one hub are in a topic, and tells all hubs that receive the topic what has changed.
--
-- KEYS names of the topic (a hash)   ARGV channel, hub as in fields, hub as in payloads, mode, name...
-- The mode is `add` or `remove` for the names given, or `only`: the hub has these names and no others.
--
-- Changing and telling is one step. So a hub that reads the hash after it has subscribed misses nothing.
local channel, hub, suffix, mode = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function remove(name)
  if redis.call('HDEL', KEYS[1], hub .. name) == 1 then
    redis.call('PUBLISH', channel, 'L' .. suffix .. name)
  end
end

local given = {}
for n = 5, #ARGV do
  given[ARGV[n]] = true
end
if mode == 'only' then
  local fields = redis.call('HGETALL', KEYS[1])
  for n = 1, #fields, 2 do
    local name = string.sub(fields[n], #hub + 1)
    if string.sub(fields[n], 1, #hub) == hub and not given[name] then
      remove(name)
    end
  end
end
for n = 5, #ARGV do
  local name = ARGV[n]
  if mode == 'remove' then
    remove(name)
  elseif redis.call('HSET', KEYS[1], hub .. name, '') == 1 then
    redis.call('PUBLISH', channel, 'J' .. suffix .. name)
  end
end
return redis.status_reply('OK')
