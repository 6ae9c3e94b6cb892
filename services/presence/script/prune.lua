-- Removes entries from a address's record, each only if it still is what was read and found dead.
-- Every write of an entry has bytes of its own, so one that was written anew since is not touched.
--
-- KEYS[1]  the address's record
-- ARGV     session, entry, session, entry, ...
-- returns  how many were removed

local removed = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
