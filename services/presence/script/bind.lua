-- Says which instance of a service has a message key, and gives the key to one if nobody has it. Sent twice, it does the
-- same as once.
--
-- KEYS[1]  the key's binding: an instance
-- ARGV[1]  who gets it, if nobody has it; empty: nobody does
-- ARGV[2]  how long it may be idle, in milliseconds
-- ARGV[3]  who does not count: an instance that is gone; may be empty
-- returns  who has it; empty: nobody

local has = redis.pcall('GET', KEYS[1])
if type(has) == 'string' and has ~= ARGV[3] and string.find(has, '^[a-z0-9-]+$') then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return has
end
if ARGV[1] ~= '' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return ARGV[1]
