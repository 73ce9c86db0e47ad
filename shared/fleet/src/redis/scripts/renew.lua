-- Renews a lease. KEYS: the lock. ARGV: ticket, lease (ms). Returns 1, or 0 when the lock is not this ticket's.

if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
    return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
