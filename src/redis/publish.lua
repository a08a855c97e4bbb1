-- Gives messages of one topic their ids, keeps them in the topic's stream, and publishes them in one payload.
--
-- KEYS counter, stream   ARGV deadline in us, epoch, floor, keep, lifetime of the stream in ms, channel, number of
-- records, records
-- Returns {first id, now in us, receiving hubs}, or {-1, now in us} after the deadline: then nothing has been done.
--
-- The records of one call are one entry of the stream, whose id is that of the last record. This costs half as much as
-- an entry for each record. The counter has the epoch, the last id, and the id at which the ids jumped last. From there
-- on ids are consecutive, so the ids tell which entries the history does not need any more.
--
-- The first write decides whether the script runs to its end, because a server that is out of memory, that is no master
-- or that lacks replicas refuses it. So an error changes nothing.
--
-- '%.0f' prints all digits of a number, where `..` would print 1.79e+15. Numbers are exact up to 9.0e15, which is the
-- year 2255 in us.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[1]) then
  return {-1, now}
end

local epoch, floor, keep, count = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[7])
local counter = redis.call('GET', KEYS[1])
local last, jump = 0, 0
if counter then
  local space = string.find(counter, ' ', 9, true) or #counter + 1
  last = tonumber(string.sub(counter, 9, space - 1))
  jump = tonumber(string.sub(counter, space + 1)) or last
end
local first
if counter and string.sub(counter, 1, 8) == epoch and last >= floor then
  first = last + 1
else
  -- Another server assigned the last ids, or this one has forgotten them. No id below the clock can have been missed.
  local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  local kept = newest and tonumber(string.match(newest[1], '^%d+')) or 0
  first = math.max(last + 1, floor + 1, now, kept + 1)
  jump = first
end
-- 0 begins a new sequence. A step above 1 is no loss.
local step = counter and first - last or 0
local at = string.format('%.0f', math.floor(now / 1000))
local top = first + count - 1
local id = string.format('%.0f', top)

if keep > 0 then
  if top - keep >= jump then
    redis.call('XADD', KEYS[2], 'MINID', '~', string.format('%.0f', top - keep + 1), id .. '-0', 'm', ARGV[8], 't', at)
  else
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, id .. '-0', 'm', ARGV[8], 't', at)
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
redis.call('SET', KEYS[1], epoch .. id .. string.format(' %.0f', jump), 'PX', 3600000)
local head = string.format('%.0f %.0f %s %d ', first, step, at, count)
return {first, now, redis.call('PUBLISH', ARGV[6], head .. ARGV[8])}
