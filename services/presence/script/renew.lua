-- Renews a lease that is ours.
-- It does not take one that is missing: the node has to learn that its lease was gone, and when this script took it and
-- the reply got lost, the second try would report that all is well.
--
-- KEYS[1]  the lease
-- KEYS[2]  of a node that reports of itself: where the report stands
-- ARGV[1]  its holder
-- ARGV[2]  time to live, in milliseconds
-- ARGV[3]  the report
-- returns  1 renewed, 0 missing, -1 held by another

local holder = redis.call('GET', KEYS[1])
if not holder then
  return 0
end
if holder ~= ARGV[1] then
  return -1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if KEYS[2] then
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
end
return 1
