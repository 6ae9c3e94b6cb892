-- Says which data a master holds, and since when: another server's, or a server's that was emptied, is other data.
--
-- KEYS[1]  where it is noted: 'run id of the server, a space, since when in milliseconds'
-- ARGV[1]  how long ago that is if there is no such note, in milliseconds
-- returns  {the note, how old it is in milliseconds}

local run = ''
local info = redis.pcall('INFO', 'server')
if type(info) == 'string' then -- a server that does not say is taken for one that never changes
  run = string.match(info, 'run_id:(%x+)') or ''
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local note = redis.pcall('GET', KEYS[1])
if type(note) == 'string' then
  local noted, since = string.match(note, '^(%x*) (%d+)$')
  if noted == run then
    return {note, string.format('%.0f', math.max(0, now - since))}
  end
end
note = run .. ' ' .. string.format('%.0f', now - ARGV[1])
redis.call('SET', KEYS[1], note)
return {note, ARGV[1]}
