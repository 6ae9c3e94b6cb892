-- Takes a lease (of a node, or the sweeper's lock) if it is free or ours already.
--
-- KEYS[1]  the lease
-- KEYS[2]  of a node that reports of itself: where the report stands
-- ARGV[1]  its holder: of a node its epoch
-- ARGV[2]  time to live, in milliseconds
-- ARGV[3]  the report
-- returns  {1, '', 0} when it is ours, or {0, its holder, what is left of its time in milliseconds}

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {0, holder, redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if KEYS[2] then
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
end
return {1, '', 0}
