-- The line of a repository: `line` has tickets by their number, `seen` the moment at which each asked last.

-- The first in the line. A ticket without a moment is the rest of something that went wrong.
local function first_in(line, seen)
    while true do
        local head = redis.call('ZRANGE', line, 0, 0)[1]
        if not head or redis.call('ZSCORE', seen, head) then
            return head
        end
        redis.call('ZREM', line, head)
    end
end

-- A ticket is `process.nonce`, and each process listens to a channel of its own.
local function wake(channels, ticket)
    if ticket then
        hint(channels .. string.match(ticket, '^[^.]*'), ticket)
    end
end
