-- Removes one session from an address's record, and nothing else, and returns who watches it.
--
-- KEYS[1]  the address's record: hash, session -> entry
-- KEYS[2]  its watchers: sorted set, node -> when its watch ends
-- ARGV[1]  session
-- returns  {{}, the watchers: {node, ...}}; nobody if there was nothing to remove

local removed = redis.pcall('HDEL', KEYS[1], ARGV[1])
if type(removed) == 'table' then
  -- What is no hash has no session, and the next connect replaces it.
  if not string.find(removed.err, 'WRONGTYPE', 1, true) then
    return removed
  end
  removed = 0
end
if removed == 0 then
  return {{}, {}}
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local watchers = redis.pcall('ZRANGEBYSCORE', KEYS[2], now, '+inf')
if watchers.err then
  watchers = {} -- what is no sorted set has nobody
end
return {{}, watchers}
