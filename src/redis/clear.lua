-- Removes the history of a topic, and tells all hubs that receive the topic.
--
-- KEYS counter, stream, cleared   ARGV channel, floor
-- Returns the id up to which messages are removed. `floor` is the caller's own last id.
--
-- Removing and telling is one step, so every message of the channel is either removed or comes after this one. The counter
-- may have expired, and so may the stream, while hubs still have messages. No id is above the clock then. A hub whose link
-- is lost meanwhile reads the id when it opens the topic again.
-- The comments in publish.lua hold here too.
local counter = redis.call('GET', KEYS[1])
local last = counter and tonumber(string.match(counter, '^%d+', 9)) or 0
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local kept = newest and tonumber(string.match(newest[1], '^%d+')) or 0
if last == 0 then
  local time = redis.call('TIME')
  last = time[1] * 1000000 + time[2]
end
local top = math.max(last, kept, tonumber(ARGV[2]))
local id = string.format('%.0f', top)
redis.call('SET', KEYS[3], id, 'PX', 86400000)
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[1], 'C ' .. id)
return top
