-- A member's goodbye. KEYS: the members of a role. ARGV: member, channel, role. Returns 1 if it was a member.

local was = redis.call('ZREM', KEYS[1], ARGV[1])
hint(ARGV[2], ARGV[3])
return was
