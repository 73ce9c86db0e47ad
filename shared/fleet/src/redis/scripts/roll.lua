-- The live members of a role, as one who is none sees them. KEYS: the members. ARGV: expiry (ms).

return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now - ARGV[1]), '+inf')
