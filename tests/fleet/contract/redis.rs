//! The lock's contract on Redis.

use std::time::{Duration, Instant};

use lockflight_fleet::contract::LockWorld;
use lockflight_fleet::redis::{MemberId, Redis as Locks, RedisLocks, RedisOptions, RedisUri};
use lockflight_tests::servers::{Redis, TcpProxy};

/// One process, and a Redis of its own since that is paused. A proxy lets the process die without being one.
struct World {
    redis: Redis,
    locks: Locks,
    proxy: TcpProxy,
    /// The processes that have died: cut off for good, but there is something left of them, such as guards.
    dead: Vec<(Locks, TcpProxy)>,
}

const LEASE: Duration = Duration::from_millis(1_500);

impl World {
    async fn new() -> Self {
        Self::on(Redis::start().await, Vec::new()).await
    }

    async fn on(redis: Redis, dead: Vec<(Locks, TcpProxy)>) -> Self {
        let proxy = TcpProxy::start(redis.port()).await;
        let uri = format!("redis://127.0.0.1:{}", proxy.port());
        let options = RedisOptions {
            lease: LEASE,
            poll: Duration::from_millis(300),
            // A pause of a lease must not count as an absence of Redis, without which work goes on.
            command_timeout: LEASE - Duration::from_millis(50),
            heartbeat: Duration::from_mins(1),
            member_expiry: Duration::from_mins(3),
            ..RedisOptions::new(RedisUri::parse(uri).unwrap())
        };
        let locks = Locks::start(options, MemberId::of_this_process()).unwrap();
        locks.ping().await.unwrap();
        Self {
            redis,
            locks,
            proxy,
            dead,
        }
    }
}

impl LockWorld for World {
    type Lock = RedisLocks;

    fn lock(&self) -> RedisLocks {
        self.locks.locks()
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    async fn pass(&self, time: Duration) {
        self.redis.pause();
        tokio::time::sleep(time).await;
        self.redis.resume();
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn restart(mut self) -> Self {
        self.proxy.refuse();
        self.proxy.reset();
        self.dead.push((self.locks, self.proxy));
        Self::on(self.redis, self.dead).await
    }
}

lockflight_fleet::lock_contract!(World::new);
