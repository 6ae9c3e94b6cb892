-- Keeps the answer to a request that has a name, or forgets the request. What another try has noted stays; what was lost
-- meanwhile is written anew. Sent twice, it does the same as once.
--
-- KEYS[1]  the name's entry
-- ARGV[1]  what is asked, and who asks, each with a space after it
-- ARGV[2]  the status, a space, and the answer; empty: the request is forgotten
-- ARGV[3]  how long the answer is kept, in milliseconds

local has = redis.call('GET', KEYS[1])
if has and string.sub(has, 1, #ARGV[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
end
return 1
