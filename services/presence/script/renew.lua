-- Renews a lease that is ours.
-- It does not take one that is missing: the node has to learn that its lease was gone, and when this script took it and
-- the reply got lost, the second try would report that all is well.
--
-- KEYS[1]  the lease
-- ARGV[1]  its holder
-- ARGV[2]  time to live, in milliseconds
-- returns  1 renewed, 0 missing, -1 held by another

local holder = redis.call('GET', KEYS[1])
if not holder then
  return 0
end
if holder ~= ARGV[1] then
  return -1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
