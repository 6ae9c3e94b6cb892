-- Gives a lease back if it is ours.
--
-- KEYS[1]  the lease
-- ARGV[1]  its holder
-- returns  1 if it was ours, else 0

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
