-- Gives messages of one topic their ids, keeps them in the topic's stream, and publishes them in one payload.
--
-- KEYS counter, stream   ARGV deadline in us, epoch, floor, keep, lifetime of the stream in ms, channel,
-- record...
-- Returns {first id, now in us, receiving hubs}, or {-1, now in us} after the deadline: then nothing has been done.
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

local epoch, floor, keep = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local counter = redis.call('GET', KEYS[1])
local last = counter and tonumber(string.sub(counter, 9)) or 0
local first
if counter and string.sub(counter, 1, 8) == epoch and last >= floor then
  first = last + 1
else
  -- Another server assigned the last ids, or this one has forgotten them. No id below the clock can have been missed.
  local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  local kept = newest and tonumber(string.match(newest[1], '^%d+')) or 0
  first = math.max(last + 1, floor + 1, now, kept + 1)
end
-- 0 begins a new sequence. A step above 1 is no loss.
local step = counter and first - last or 0
local at = string.format('%.0f', math.floor(now / 1000))

local payload = {string.format('%.0f %.0f %s %d ', first, step, at, #ARGV - 6)}
for n = 7, #ARGV do
  local record = ARGV[n]
  if keep ~= '0' then
    local id = string.format('%.0f-0', first + n - 7)
    if n < #ARGV then
      redis.call('XADD', KEYS[2], id, 'm', record, 't', at)
    else
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, id, 'm', record, 't', at)
    end
  end
  payload[#payload + 1] = #record .. ' '
  payload[#payload + 1] = record
end
if keep ~= '0' then
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
redis.call('SET', KEYS[1], epoch .. string.format('%.0f', first + #ARGV - 7), 'PX', 3600000)
return {first, now, redis.call('PUBLISH', ARGV[6], table.concat(payload))}
