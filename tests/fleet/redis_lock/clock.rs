//! When the clock of Redis jumps, as far as that can be played: by what Redis then has.

use lockflight_fleet::{LockGuard as _, RepoLock as _};
use lockflight_tests::servers::Redis as Server;

use super::{REPO, acquire, behind_proxy, in_line, in_time, options, process};

#[tokio::test]
async fn a_clock_of_redis_that_jumps_back_makes_no_lease_or_place_in_line_last_forever() {
    let server = Server::start().await;
    let (dying, proxy) = behind_proxy(&server).await;
    let living = process(options(server.uri()));
    let held = acquire(&dying.locks(), REPO).await;
    proxy.refuse();
    proxy.reset();
    // What Redis has when its clock has jumped back by an hour: a lease of a dead holder that ends in an hour, and a dead waiter who
    // was seen in an hour.
    assert_eq!(
        server.cli(&["PEXPIRE", "lockflight:lock:{1}", "3602000"]).await,
        "1"
    );
    let hour = "local t = redis.call('TIME') local now = t[1] * 1000 + 3600000 \
                redis.call('ZADD', KEYS[1], 1, 'dead.1') return redis.call('ZADD', KEYS[2], now, 'dead.1')";
    let keys = ["lockflight:lock:{1}:line", "lockflight:lock:{1}:seen"];
    assert_eq!(server.cli(&["EVAL", hour, "2", keys[0], keys[1]]).await, "1");
    let guard = acquire(&living.locks(), REPO).await;
    assert!(!guard.is_local());
    in_time("the dead one knows", held.lost()).await;
}

#[tokio::test]
async fn a_clock_of_redis_that_jumps_ahead_costs_the_lock_but_not_the_place_in_line() {
    let server = Server::start().await;
    let redis = process(options(server.uri()));
    let other = process(options(server.uri()));
    let held = acquire(&redis.locks(), REPO).await;
    let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
    for (number, process) in [&other, &redis].into_iter().enumerate() {
        let (locks, sender) = (process.locks(), sender.clone());
        tokio::spawn(async move {
            let guard = locks.acquire(REPO).await.unwrap();
            sender.send(number).unwrap();
            guard.release().await.unwrap();
        });
        in_line(&server, number + 1).await;
    }
    // What Redis has when its clock has jumped ahead by an hour: the lease is over, and all were seen an hour ago.
    let hour = "for _, ticket in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do \
                redis.call('ZINCRBY', KEYS[2], -3600000, ticket) end return redis.call('DEL', KEYS[1])";
    let keys = ["lockflight:lock:{1}", "lockflight:lock:{1}:seen"];
    assert_eq!(server.cli(&["EVAL", hour, "2", keys[0], keys[1]]).await, "1");
    for expected in 0..2 {
        assert_eq!(in_time("a waiter", order.recv()).await, Some(expected));
    }
    in_time("the holder is told by its renewal", held.lost()).await;
}
