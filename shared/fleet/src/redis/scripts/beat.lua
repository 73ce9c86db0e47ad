-- A member's heartbeat.
--
-- KEYS: the members of a role by the moment of their last heartbeat.
-- ARGV: member, since its last heartbeat (ms, -1 for never), expiry (ms), tolerance (ms), channel, role.
-- Returns {1 if it was known before, the live members}.

local members, me, channel, role = KEYS[1], ARGV[1], ARGV[5], ARGV[6]
local since, expiry, tolerance = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local known = follow_clock(members, me, since, tolerance)
redis.call('ZADD', members, now, me)
local dead = redis.call('ZREMRANGEBYSCORE', members, '-inf', now - expiry)
-- Long, since a jump of the clock must not end all memberships.
redis.call('EXPIRE', members, 86400)
if dead > 0 or not known then
    hint(channel, role)
end
return { known and 1 or 0, redis.call('ZRANGE', members, 0, -1) }
