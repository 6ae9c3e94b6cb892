-- Says what is known of a request that has a name, and notes it as under way if nothing is. Sent twice, it does the same as
-- once: the entry says whose it is.
--
-- KEYS[1]  the name's entry: 'what is asked, whose it is, 0, when it began in milliseconds by this clock'
-- ARGV[1]  what is asked, and who asks, each with a space after it
-- ARGV[2]  how long that is known, in milliseconds
-- returns  {the entry that was there, or '', the time in milliseconds}

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
-- What is no string is garbage, and an error: it may have been the entry of a request that was carried out.
local has = redis.call('GET', KEYS[1])
if has then
  return {has, now}
end
redis.call('SET', KEYS[1], ARGV[1] .. '0 ' .. now, 'PX', ARGV[2])
return {'', now}
