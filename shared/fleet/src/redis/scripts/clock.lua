-- What every script that keeps moments begins with.
--
-- A moment is Redis' own time of day in milliseconds. That clock may jump. A caller knows by its own monotonic clock how long ago it
-- wrote its moment here; when the two differ by more than `tolerance`, the clock has jumped and all moments move with it.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function follow_clock(moments, me, since, tolerance)
    local mine = redis.call('ZSCORE', moments, me)
    if mine and since >= 0 then
        local jump = now - tonumber(mine) - since
        if math.abs(jump) > tolerance then
            local all = redis.call('ZRANGE', moments, 0, -1, 'WITHSCORES')
            for i = 1, #all, 2 do
                redis.call('ZADD', moments, tonumber(all[i + 1]) + jump, all[i])
            end
        end
    end
    -- Whatever is still in the future would never grow old.
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', moments, '(' .. now, '+inf')) do
        redis.call('ZADD', moments, now, name)
    end
    return mine
end

-- A hint, and no more: whoever may not publish loses only time.
local function hint(channel, text)
    redis.pcall('PUBLISH', channel, text)
end
