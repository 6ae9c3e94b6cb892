-- Writes one session into a client's record and returns the whole record.
-- Sent twice, it does the same as once.
--
-- KEYS[1]  the client's record: hash, session -> entry
-- ARGV[1]  session
-- ARGV[2]  its entry
-- returns  the record, this session included: {session, entry, session, entry, ...}

local wrote = redis.pcall('HSET', KEYS[1], ARGV[1], ARGV[2])
if type(wrote) == 'table' and wrote.err then
  -- Nobody but Beeline writes this key, so what is no hash is garbage, and would keep the client out for ever.
  if not string.find(wrote.err, 'WRONGTYPE', 1, true) then
    return wrote
  end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('HGETALL', KEYS[1])
