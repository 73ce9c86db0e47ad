-- Asks for a repository's lock: takes it, or a place in the line. Asking again with the same ticket is always fine.
--
-- KEYS: the lock, its fence, the line, when each in the line was seen.
-- ARGV: ticket, lease (ms), patience (ms), since when this ticket asked last (ms, -1 for never), the least fence minus one, who asks,
--       the prefix of the channels that wake processes.
-- Returns {1, fence}, or {0, ms until the lease of the holder ends, or -1 when it is not this ticket's turn then}.

local lock, fence, line, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ticket, who, channels = ARGV[1], ARGV[6], ARGV[7]
local lease, patience, since, floor = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local holder = redis.call('HGET', lock, 'token')
if holder == ticket then
    -- It was granted before, and the answer was lost.
    redis.call('PEXPIRE', lock, lease)
    redis.call('ZREM', line, ticket)
    redis.call('ZREM', seen, ticket)
    return { 1, tonumber(redis.call('HGET', lock, 'fence')) }
end

local left = -1
if holder then
    -- Redis keeps the end of a lease by its time of day. When that has jumped back, a lease would last for the length of the jump.
    local whole = tonumber(redis.call('HGET', lock, 'lease')) or lease
    left = redis.call('PTTL', lock)
    if left < 0 or left > whole then
        redis.call('PEXPIRE', lock, whole)
        left = whole
    end
end

follow_clock(seen, ticket, since, patience / 2)
if not redis.call('ZSCORE', line, ticket) then
    local last = redis.call('ZRANGE', line, -1, -1, 'WITHSCORES')[2]
    redis.call('ZADD', line, tonumber(last or 0) + 1, ticket)
end
redis.call('ZADD', seen, now, ticket)
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - patience)) do
    redis.call('ZREM', line, dead)
    redis.call('ZREM', seen, dead)
end
-- Long, since a jump of the clock must not end a line.
redis.call('EXPIRE', line, 86400)
redis.call('EXPIRE', seen, 86400)

local head = first_in(line, seen)
if holder then
    return { 0, head == ticket and left or -1 }
end
if head ~= ticket then
    -- The lock ran out, or a hint was lost.
    wake(channels, head)
    return { 0, -1 }
end

redis.call('ZREM', line, ticket)
redis.call('ZREM', seen, ticket)
local number = redis.call('INCR', fence)
if number <= floor then
    -- Redis has forgotten; this process remembers.
    number = floor + 1
    redis.call('SET', fence, string.format('%.0f', number))
end
redis.call('DEL', lock)
redis.call('HSET', lock, 'token', ticket, 'fence', string.format('%.0f', number), 'lease', lease, 'holder', who)
redis.call('PEXPIRE', lock, lease)
return { 1, number }
