-- Returns the position of a topic, and raises it where ids could repeat otherwise.
--
-- KEYS counter, stream, cleared   ARGV epoch, floor, raise (1 or 0), channel
-- Returns {last id, now in us, id up to which the history has been removed}. There will be no message with an id up to the
-- last one any more.
--
-- `floor` is the caller's own last id. The counter is raised to the clock if it is missing, if another server assigned its
-- id, if it is below `floor`, or if the caller asks for that because it has assigned ids itself. All hubs are told.
-- The comments in publish.lua hold here too.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch, floor = ARGV[1], tonumber(ARGV[2])
local counter = redis.call('GET', KEYS[1])
local cleared = redis.call('GET', KEYS[3]) or '0'
local last = counter and tonumber(string.match(counter, '^%d+', 9)) or 0
if counter and string.sub(counter, 1, 8) == epoch and last >= floor and ARGV[3] ~= '1' then
  redis.call('PEXPIRE', KEYS[1], 3600000)
  return {last, now, cleared}
end

local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local kept = newest and tonumber(string.match(newest[1], '^%d+')) or 0
local top = math.max(last, floor, now, kept)
redis.call('SET', KEYS[1], epoch .. string.format('%.0f %.0f', top, top), 'PX', 3600000)
redis.call('PUBLISH', ARGV[4], 'H ' .. string.format('%.0f', top))
return {top, now, cleared}
