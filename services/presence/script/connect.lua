-- Writes one session into an address's record, and returns the whole record and who watches it.
-- Sent twice, it does the same as once.
--
-- KEYS[1]  the address's record: hash, session -> entry
-- KEYS[2]  its watchers: sorted set, node -> when its watch ends
-- ARGV[1]  session
-- ARGV[2]  its entry
-- returns  {the record, this session included: {session, entry, session, entry, ...}, the watchers: {node, ...}}

local wrote = redis.pcall('HSET', KEYS[1], ARGV[1], ARGV[2])
if type(wrote) == 'table' and wrote.err then
  -- Nobody but Beeline writes this key, so what is no hash is garbage, and would keep the client out for ever.
  if not string.find(wrote.err, 'WRONGTYPE', 1, true) then
    return wrote
  end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local watchers = redis.pcall('ZRANGEBYSCORE', KEYS[2], now, '+inf')
if watchers.err then
  watchers = {} -- what is no sorted set has nobody
end
return {redis.call('HGETALL', KEYS[1]), watchers}
