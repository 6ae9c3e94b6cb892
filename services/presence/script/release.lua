-- Gives a lease back if it is ours.
--
-- KEYS[1]  the lease
-- KEYS[2]  of a node that reports of itself: where the report stands
-- ARGV[1]  its holder
-- returns  how many keys were removed: 0 if it was not ours

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', unpack(KEYS))
end
return 0
