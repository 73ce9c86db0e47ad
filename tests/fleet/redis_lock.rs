//! Locks on Redis, when Redis, the way to it, or a holder fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lockflight_fleet::redis::{Redis, RedisGuard, RedisLocks, RedisOptions, RedisUri};
use lockflight_fleet::{LockError, LockGuard as _, MemberId, RepoLock as _};
use lockflight_promotion::{Fence, RepoId};
use lockflight_tests::servers::{PATIENCE, Redis as Server, RedisSetup, TcpProxy};

mod clock;
mod pause;
mod users;

const REPO: RepoId = RepoId::new(1);

/// For how long nothing has to happen, to count as nothing.
const QUIET: Duration = Duration::from_millis(100);

pub(crate) fn options(uri: impl Into<String>) -> RedisOptions {
    RedisOptions {
        lease: Duration::from_secs(2),
        poll: Duration::from_millis(200),
        command_timeout: Duration::from_secs(1),
        heartbeat: Duration::from_millis(100),
        member_expiry: Duration::from_secs(1),
        ..RedisOptions::new(RedisUri::parse(uri).unwrap())
    }
}

/// With leases so long that nobody waits for their end.
fn long_lease(uri: String) -> RedisOptions {
    RedisOptions {
        lease: Duration::from_mins(10),
        ..options(uri)
    }
}

/// What a process has: its connection is its own.
pub(crate) fn process(options: RedisOptions) -> Redis {
    Redis::start(options, MemberId::of_this_process()).unwrap()
}

/// A process whose way to Redis can be made bad.
pub(crate) async fn behind_proxy(server: &Server) -> (Redis, TcpProxy) {
    let proxy = TcpProxy::start(server.port()).await;
    let redis = process(options(format!("redis://127.0.0.1:{}", proxy.port())));
    redis.ping().await.unwrap();
    (redis, proxy)
}

pub(crate) async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn acquire(locks: &RedisLocks, repo: RepoId) -> RedisGuard {
    in_time("the lock", locks.acquire(repo)).await.unwrap()
}

/// Whether nobody gets a lock for a while.
async fn is_held(locks: &RedisLocks, repo: RepoId) -> bool {
    tokio::time::timeout(QUIET, locks.acquire(repo)).await.is_err()
}

fn holds(guard: &RedisGuard) -> bool {
    let lease = guard.lease();
    lease.check(lease.repo(), Instant::now()).is_ok()
}

async fn is_degraded(redis: &Redis) {
    until("Redis counts as away", async || redis.is_degraded()).await;
}

async fn is_back(redis: &Redis) {
    until("Redis is back", async || redis.is_connected()).await;
}

/// Waits until that many wait in a repository's line.
async fn in_line(server: &Server, waiters: usize) {
    let waiters = waiters.to_string();
    until("they wait in line", async || {
        server.cli(&["ZCARD", "lockflight:lock:{1}:line"]).await == waiters
    })
    .await;
}

#[tokio::test]
async fn without_redis_a_few_work_at_a_time_and_each_repository_once() {
    let server = Server::start().await;
    server.kill().await;
    let redis = process(options(server.uri()));
    let locks = redis.locks();
    let one = acquire(&locks, RepoId::new(1)).await;
    let two = acquire(&locks, RepoId::new(2)).await;
    assert!(redis.is_degraded() && !redis.is_connected());
    for guard in [&one, &two] {
        assert!(guard.is_local() && holds(guard));
        assert_eq!(guard.lease().fence(), Fence(0));
    }
    assert!(is_held(&locks, RepoId::new(3)).await, "no third repository");
    drop(two);
    assert!(is_held(&locks, RepoId::new(1)).await, "never twice the same");
    let three = acquire(&locks, RepoId::new(3)).await;
    assert_eq!(three.lease().repo(), RepoId::new(3));
    // It goes on for as long as Redis is away, and beyond a lease.
    let first = one.lease().deadline();
    until("it is renewed", async || one.lease().deadline() > first).await;
    assert!(holds(&one));

    server.restart().await;
    is_back(&redis).await;
    // In this process there is one at a time in a repository, whichever way it got there.
    assert!(is_held(&locks, RepoId::new(1)).await);
    let four = acquire(&locks, RepoId::new(4)).await;
    assert!(!four.is_local() && four.lease().fence() > Fence(0));
    one.release().await.unwrap();
    assert!(!acquire(&locks, RepoId::new(1)).await.is_local());
    // Work without a lock ends within a lease once Redis is back.
    in_time("the holder is told", three.lost()).await;
    assert!(!holds(&three));
    assert!(!acquire(&locks, RepoId::new(3)).await.is_local());
}

#[tokio::test]
async fn a_waiter_in_line_goes_on_when_redis_dies_and_one_without_a_lock_when_it_is_back() {
    let server = Server::start().await;
    let (other, mine) = (process(options(server.uri())), process(options(server.uri())));
    let held = acquire(&other.locks(), REPO).await;
    let waiter = tokio::spawn({
        let locks = mine.locks();
        async move { locks.acquire(REPO).await }
    });
    in_line(&server, 1).await;
    server.kill().await;
    let guard = in_time("the waiter", waiter).await.unwrap().unwrap();
    assert!(guard.is_local());
    drop(held);
    let waiting = tokio::spawn({
        let locks = mine.locks();
        async move { locks.acquire(REPO).await }
    });
    assert!(is_held(&mine.locks(), REPO).await);
    server.restart().await;
    is_back(&mine).await;
    drop(guard);
    assert!(!in_time("the waiter", waiting).await.unwrap().unwrap().is_local());
}

#[tokio::test]
async fn kill_9_of_redis_while_five_hold_locks_doubles_and_loses_nothing() {
    const REPOS: u64 = 5;
    const EACH: u64 = 8;
    let server = Arc::new(Server::start().await);
    let processes: Vec<Redis> = (0..2).map(|_| process(options(server.uri()))).collect();
    let holders: Vec<RedisGuard> = {
        let mut holders = Vec::new();
        for repo in 1..=REPOS {
            holders.push(acquire(&processes[0].locks(), RepoId::new(repo)).await);
        }
        holders
    };
    let fences: Vec<Fence> = holders.iter().map(|guard| guard.lease().fence()).collect();
    server.kill().await;
    assert!(holders.iter().all(holds), "a lease is good until its deadline");

    // What git does: a ref is compared before it is set.
    let refs: Arc<Vec<AtomicU64>> = Arc::new((0..=REPOS).map(|_| AtomicU64::new(0)).collect());
    let inside: Arc<Vec<AtomicU64>> = Arc::new((0..=REPOS * 2).map(|_| AtomicU64::new(0)).collect());
    let mut workers = Vec::new();
    for (number, redis) in processes.iter().enumerate() {
        for repo in 1..=REPOS {
            let (locks, refs, inside) = (redis.locks(), Arc::clone(&refs), Arc::clone(&inside));
            workers.push(tokio::spawn(async move {
                let index = usize::try_from(repo).unwrap();
                let place = &inside[number * usize::try_from(REPOS).unwrap() + index];
                let mut done = 0;
                while done < EACH {
                    let guard = locks.acquire(RepoId::new(repo)).await.unwrap();
                    assert_eq!(place.fetch_add(1, Ordering::SeqCst), 0, "twice in one process");
                    let seen = refs[index].load(Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let pushed = holds(&guard)
                        && refs[index]
                            .compare_exchange(seen, seen + 1, Ordering::SeqCst, Ordering::SeqCst)
                            .is_ok();
                    done += u64::from(pushed);
                    place.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            }));
        }
    }
    is_degraded(&processes[1]).await;
    // They work without it, those of the second process at least: it holds nothing.
    until("work goes on", async || {
        refs.iter().any(|value| value.load(Ordering::SeqCst) > 0)
    })
    .await;
    server.restart().await;
    for guard in &holders {
        in_time("a holder learns that its lock is gone", guard.lost()).await;
        assert!(!holds(guard));
    }
    drop(holders);
    for worker in workers {
        in_time("a worker", worker).await.unwrap();
    }
    for repo in 1..=REPOS {
        assert_eq!(
            refs[usize::try_from(repo).unwrap()].load(Ordering::SeqCst),
            2 * EACH
        );
    }
    // Redis has forgotten how far it had counted, but we have not.
    for (repo, fence) in (1..=REPOS).zip(fences) {
        let next = acquire(&processes[0].locks(), RepoId::new(repo)).await;
        assert!(next.lease().fence() > fence);
    }
}

#[tokio::test]
async fn a_redis_that_hangs_costs_one_timeout_and_not_one_for_each_lock() {
    let server = Server::start().await;
    let redis = process(options(server.uri()));
    let locks = redis.locks();
    let held = acquire(&locks, RepoId::new(100)).await;
    server.pause();
    let first = acquire(&locks, RepoId::new(1)).await;
    assert!(first.is_local());
    first.release().await.unwrap();
    let before = Instant::now();
    for repo in 2..=20 {
        assert!(acquire(&locks, RepoId::new(repo)).await.is_local());
    }
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    let told = redis.ping().await.unwrap_err();
    assert!(told.to_string().contains(&server.uri()), "{told}");
    assert!(matches!(held.release().await, Err(LockError::Backend(_))));
    server.resume();
    is_back(&redis).await;
    assert!(!acquire(&locks, RepoId::new(1)).await.is_local());
}

#[tokio::test]
async fn what_was_given_back_while_redis_was_away_is_free_as_soon_as_it_is_back() {
    let server = Server::start().await;
    let (mine, other) = (
        process(long_lease(server.uri())),
        process(long_lease(server.uri())),
    );
    let guard = acquire(&mine.locks(), REPO).await;
    let waiting = tokio::spawn({
        let locks = mine.locks();
        async move { locks.acquire(REPO).await }
    });
    in_line(&server, 1).await;
    server.pause();
    waiting.abort();
    assert!(guard.release().await.is_err(), "Redis does not answer");
    server.resume();
    is_back(&other).await;
    // No lease of ten minutes is waited for, and nobody is in the line who is not there.
    assert!(!acquire(&other.locks(), REPO).await.is_local());
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_reason_to_work_without_locks() {
    let server = Server::start().await;
    let (redis, proxy) = behind_proxy(&server).await;
    let (locks, before) = (redis.locks(), proxy.accepted());
    let held = acquire(&locks, REPO).await;
    proxy.reset();
    until("it has connected again", async || proxy.accepted() > before).await;
    let guard = acquire(&locks, RepoId::new(2)).await;
    assert!(!guard.is_local(), "it waits for the next connection");
    // The lock outlives the connection.
    let renewed = held.lease().deadline();
    until("it is renewed", async || held.lease().deadline() > renewed).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_no_lock_behind() {
    let server = Server::start().await;
    let proxy = TcpProxy::start(server.port()).await;
    let mine = process(long_lease(format!("redis://127.0.0.1:{}", proxy.port())));
    let other = process(long_lease(server.uri()));
    let (mut lost, mut arrived) = (0, 0);
    // Cut after each number of bytes: before, within and after the question and its answer.
    for bytes in (0..720).step_by(60) {
        is_back(&mine).await;
        proxy.limit(bytes);
        let asked = acquire(&mine.locks(), REPO).await;
        if asked.is_local() {
            lost += 1;
        } else {
            arrived += 1;
        }
        drop(asked);
        proxy.unlimit();
        let guard = acquire(&other.locks(), REPO).await;
        assert!(!guard.is_local());
        guard.release().await.unwrap();
    }
    assert!(lost > 0 && arrived > 0, "{lost} {arrived}");
}

#[tokio::test]
async fn waiters_of_several_processes_are_served_in_the_order_in_which_they_came() {
    let server = Server::start().await;
    let processes: Vec<Redis> = (0..3).map(|_| process(options(server.uri()))).collect();
    let held = acquire(&processes[0].locks(), REPO).await;
    let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
    // Two of one process come one after the other, then others: nobody is put before its turn.
    let from = [0, 0, 1, 2, 2, 2, 0, 1, 1, 0];
    for (number, process) in from.into_iter().enumerate() {
        let (locks, sender) = (processes[process].locks(), sender.clone());
        tokio::spawn(async move {
            let guard = locks.acquire(REPO).await.unwrap();
            sender.send((number, guard.lease().fence())).unwrap();
            guard.release().await.unwrap();
        });
        in_line(&server, number + 1).await;
    }
    let mut last = held.lease().fence();
    held.release().await.unwrap();
    for expected in 0..from.len() {
        let (number, fence) = in_time("a waiter", order.recv()).await.unwrap();
        assert_eq!(number, expected);
        assert!(fence > last, "{fence:?} after {last:?}");
        last = fence;
    }
}

#[tokio::test]
async fn a_waiter_whose_process_died_does_not_hold_up_the_line() {
    let server = Server::start().await;
    let (dying, proxy) = behind_proxy(&server).await;
    let (holder, living) = (process(options(server.uri())), process(options(server.uri())));
    let held = acquire(&holder.locks(), REPO).await;
    let wait = |redis: &Redis| {
        let locks = redis.locks();
        tokio::spawn(async move { locks.acquire(REPO).await.unwrap() })
    };
    let dead = wait(&dying);
    in_line(&server, 1).await;
    let next = wait(&living);
    in_line(&server, 2).await;
    proxy.refuse();
    proxy.reset();
    held.release().await.unwrap();
    assert!(!in_time("the living", next).await.unwrap().is_local());
    assert!(in_time("the other goes on alone", dead).await.unwrap().is_local());
}

#[tokio::test]
async fn lost_hints_cost_time_and_nothing_else() {
    let server = Server::start().await;
    // A user who can neither publish nor subscribe.
    let allowed = server
        .cli(&[
            "ACL",
            "SETUSER",
            "mute",
            "on",
            ">hunter2",
            "~lockflight:*",
            "+@all",
            "resetchannels",
        ])
        .await;
    assert_eq!(allowed, "OK");
    let uri = format!("redis://mute:hunter2@127.0.0.1:{}", server.port());
    let (one, two) = (process(options(uri.as_str())), process(options(uri)));
    let held = acquire(&one.locks(), REPO).await;
    assert!(!held.is_local());
    let waiter = tokio::spawn({
        let locks = two.locks();
        async move { locks.acquire(REPO).await }
    });
    in_line(&server, 1).await;
    held.release().await.unwrap();
    assert!(!in_time("the waiter", waiter).await.unwrap().unwrap().is_local());
}

#[tokio::test]
async fn redis_that_forgets_its_scripts_is_told_them_again() {
    let server = Server::start().await;
    let redis = process(options(server.uri()));
    acquire(&redis.locks(), REPO).await.release().await.unwrap();
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]).await, "OK");
    let guard = acquire(&redis.locks(), REPO).await;
    assert!(!guard.is_local());
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]).await, "OK");
    let first = guard.lease().deadline();
    until("it is renewed", async || guard.lease().deadline() > first).await;
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_as_good_as_away_until_it_does() {
    let primary = Server::start().await;
    let replica = RedisSetup::default().replica_of(primary.port()).start().await;
    let redis = process(options(replica.uri()));
    assert!(acquire(&redis.locks(), REPO).await.is_local());
    let reason = std::error::Error::source(&redis.ping().await.unwrap_err())
        .unwrap()
        .to_string();
    assert!(reason.contains("primary"), "{reason}");
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]).await, "OK");
    is_back(&redis).await;
    let guard = acquire(&redis.locks(), REPO).await;
    assert!(!guard.is_local());
    // Out of memory, with a session that was fine.
    assert_eq!(replica.cli(&["CONFIG", "SET", "maxmemory", "1"]).await, "OK");
    assert!(acquire(&redis.locks(), RepoId::new(2)).await.is_local());
    assert_eq!(replica.cli(&["CONFIG", "SET", "maxmemory", "0"]).await, "OK");
    is_back(&redis).await;
    assert!(!acquire(&redis.locks(), RepoId::new(2)).await.is_local());
}

#[tokio::test]
async fn closing_gives_back_what_was_dropped_and_tells_who_waits() {
    let server = Server::start().await;
    let (mine, other) = (
        process(long_lease(server.uri())),
        process(long_lease(server.uri())),
    );
    let dropped = acquire(&mine.locks(), RepoId::new(2)).await;
    let held = acquire(&other.locks(), REPO).await;
    let waiter = tokio::spawn({
        let locks = mine.locks();
        async move { locks.acquire(REPO).await }
    });
    in_line(&server, 1).await;
    drop(dropped);
    in_time("closing", mine.close()).await;
    assert!(matches!(
        in_time("the waiter", waiter).await.unwrap(),
        Err(LockError::Closed)
    ));
    assert!(matches!(mine.locks().acquire(REPO).await, Err(LockError::Closed)));
    assert!(mine.ping().await.is_err());
    acquire(&other.locks(), RepoId::new(2))
        .await
        .release()
        .await
        .unwrap();
    held.release().await.unwrap();
    assert!(!acquire(&other.locks(), REPO).await.is_local());
    // Once more is fine.
    mine.close().await;
}
