//! The lock's contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lockflight_promotion::{LeaseExpired, RepoId};

use super::{LockWorld, QUIET, in_time, until};
use crate::{LockGuard as _, RepoLock};

const REPO: RepoId = RepoId::new(1);

type GuardOf<W> = <<W as LockWorld>::Lock as RepoLock>::Guard;

async fn acquire<W: LockWorld>(world: &W, repo: RepoId) -> GuardOf<W> {
    in_time("the lock", world.lock().acquire(repo)).await.unwrap()
}

async fn is_held<W: LockWorld>(world: &W, repo: RepoId) -> bool {
    tokio::time::timeout(QUIET, world.lock().acquire(repo))
        .await
        .is_err()
}

pub async fn one_worker_at_a_time_has_a_repository(world: impl LockWorld) {
    let inside = Arc::new(AtomicU32::new(0));
    let workers: Vec<_> = (0..20)
        .map(|_| {
            let (lock, inside) = (world.lock(), Arc::clone(&inside));
            tokio::spawn(async move {
                let guard = lock.acquire(REPO).await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                tokio::time::sleep(Duration::from_millis(2)).await;
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                let fence = guard.lease().fence();
                guard.release().await.unwrap();
                fence
            })
        })
        .collect();
    let mut fences = Vec::new();
    for worker in workers {
        fences.push(in_time("a worker", worker).await.unwrap());
    }
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences.len(), 20, "each grant has a fence of its own");
}

pub async fn waiters_are_served_in_the_order_in_which_they_came(world: impl LockWorld) {
    let first = acquire(&world, REPO).await;
    let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
    let mut waiters = Vec::new();
    for n in 0..6 {
        let (lock, sender) = (world.lock(), sender.clone());
        waiters.push(tokio::spawn(async move {
            let guard = lock.acquire(REPO).await.unwrap();
            sender.send(n).unwrap();
            guard.release().await.unwrap();
        }));
        // Let it get into the line before the next one does.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(order.is_empty(), "nobody is served while the lock is held");
    first.release().await.unwrap();
    for n in 0..6 {
        assert_eq!(in_time("a waiter", order.recv()).await, Some(n));
    }
    for waiter in waiters {
        waiter.await.unwrap();
    }
}

pub async fn a_held_repository_does_not_hold_up_another(world: impl LockWorld) {
    let one = acquire(&world, REPO).await;
    let other = acquire(&world, RepoId::new(2)).await;
    assert_eq!(one.lease().repo(), REPO);
    assert_eq!(other.lease().repo(), RepoId::new(2));
    assert!(matches!(
        one.lease().check(RepoId::new(2), world.now()),
        Err(LeaseExpired::OtherRepository { .. })
    ));
}

pub async fn a_lease_is_renewed_while_its_guard_lives(world: impl LockWorld) {
    let guard = acquire(&world, REPO).await;
    let fence = guard.lease().fence();
    for _ in 0..7 {
        let before = guard.lease().deadline();
        world.pass(world.lease() / 3).await;
        until("the lease is renewed", || guard.lease().deadline() > before).await;
        assert_eq!(guard.lease().check(REPO, world.now()), Ok(()));
    }
    assert!(is_held(&world, REPO).await);
    assert_eq!(guard.lease().fence(), fence, "it is one grant all the while");
    assert!(tokio::time::timeout(QUIET, guard.lost()).await.is_err());
}

pub async fn a_lapsed_lease_is_refused_and_the_next_fence_is_greater(world: impl LockWorld) {
    let guard = acquire(&world, REPO).await;
    assert_eq!(guard.lease().check(REPO, world.now()), Ok(()));
    assert!(guard.lease().deadline() < world.now() + world.lease());
    let old = guard.lease().fence();
    world.pass(world.lease()).await;
    assert!(matches!(
        guard.lease().check(REPO, world.now()),
        Err(LeaseExpired::Late { .. })
    ));
    in_time("the holder learns of it", guard.lost()).await;
    let next = acquire(&world, REPO).await;
    assert!(next.lease().fence() > old);
    assert_eq!(next.lease().check(REPO, world.now()), Ok(()));
    // The old holder's goodbye does not end the new one's lease.
    guard.release().await.unwrap();
    assert!(is_held(&world, REPO).await);
    assert_eq!(next.lease().check(REPO, world.now()), Ok(()));
}

pub async fn a_dropped_guard_gives_the_lock_back(world: impl LockWorld) {
    let guard = acquire(&world, REPO).await;
    let old = guard.lease().fence();
    assert!(is_held(&world, REPO).await);
    drop(guard);
    assert!(acquire(&world, REPO).await.lease().fence() > old);
}

pub async fn a_waiter_that_leaves_takes_nothing_with_it(world: impl LockWorld) {
    let held = acquire(&world, REPO).await;
    let lock = world.lock();
    let waiter = tokio::spawn(async move { lock.acquire(REPO).await });
    tokio::time::sleep(QUIET).await;
    waiter.abort();
    assert!(waiter.await.is_err_and(|error| error.is_cancelled()));
    held.release().await.unwrap();
    // Cancelled at every point that it happens to have come to, also between the grant and its arrival.
    for round in 0..50 {
        let lock = world.lock();
        let racing = tokio::spawn(async move { lock.acquire(REPO).await });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        racing.abort();
        if let Ok(granted) = racing.await {
            granted.unwrap().release().await.unwrap();
        }
        acquire(&world, REPO).await.release().await.unwrap();
    }
}

pub async fn the_fence_grows_across_restarts(world: impl LockWorld) {
    let guard = acquire(&world, REPO).await;
    let old = guard.lease().fence();
    let world = world.restart().await;
    let next = acquire(&world, REPO).await;
    assert!(next.lease().fence() > old);
    drop(guard);
    assert!(is_held(&world, REPO).await, "a dead process's guard ends nothing");
}
