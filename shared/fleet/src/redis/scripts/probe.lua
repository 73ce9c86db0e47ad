-- Whether this Redis can do what the others ask of it: run scripts, tell the time, and write. KEYS: a key for that.

redis.call('SET', KEYS[1], now, 'PX', 10000)
return 1
