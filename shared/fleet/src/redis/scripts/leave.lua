-- Gives up a lock, or a place in its line, whichever the ticket has.
--
-- KEYS: the lock, the line, when each in the line was seen. ARGV: ticket, the prefix of the channels that wake processes.
-- Returns 1 when the lock was this ticket's.

local lock, line, seen = KEYS[1], KEYS[2], KEYS[3]
local freed = 0
if redis.call('HGET', lock, 'token') == ARGV[1] then
    redis.call('DEL', lock)
    freed = 1
end
redis.call('ZREM', line, ARGV[1])
redis.call('ZREM', seen, ARGV[1])
if redis.call('EXISTS', lock) == 0 then
    wake(ARGV[2], first_in(line, seen))
end
return freed
