-- Returns a record, and has a node told of its changes for a while.
--
-- KEYS[1]  the address's record: hash, session -> entry
-- KEYS[2]  its watchers: sorted set, node -> when its watch ends
-- ARGV[1]  the node that asks
-- ARGV[2]  how long it watches, in milliseconds
-- returns  the record: {session, entry, session, entry, ...}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = string.format('%.0f', now + ARGV[2])
local added = redis.pcall('ZADD', KEYS[2], ends, ARGV[1])
if type(added) == 'table' and added.err then
  -- Nobody but Beeline writes these keys, so what is of another type is garbage.
  if not string.find(added.err, 'WRONGTYPE', 1, true) then
    return added
  end
  redis.call('DEL', KEYS[2])
  redis.call('ZADD', KEYS[2], ends, ARGV[1])
end
if added == 1 then -- a new watcher: whoever's watch has ended makes room
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local record = redis.pcall('HGETALL', KEYS[1])
if record.err and string.find(record.err, 'WRONGTYPE', 1, true) then
  return {}
end
return record
