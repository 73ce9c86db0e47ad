//! What the strict queue does on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockflight_promotion::{LeaseExpired, RepoId};

use super::World;
use crate::contract::LockWorld as _;
use crate::contract::sample::{delivery, step};
use crate::embedded::Strictness;
use crate::{Delivery as _, LockGuard as _, Queue as _, RepoLock as _, Settled, Work};

async fn strict(strictness: Strictness) -> World {
    World::with(|options| options.strictness = strictness).await
}

/// Publishes messages of several repositories, and acknowledges them until nothing is left.
async fn drain(world: &World, work: Work) -> Vec<(String, u32)> {
    let make = if work == Work::Steps { step } else { delivery };
    let messages: Vec<_> = (0..120)
        .map(|n: u64| make(n % 6, &format!("r{}-{:02}", n % 6, n / 6)))
        .collect();
    world.fleet.publish(&messages).await.unwrap();
    let mut seen = Vec::new();
    while let Some(next) = world.fleet.try_receive(work).await.unwrap() {
        seen.push((next.envelope().id.to_string(), next.attempt()));
        assert_eq!(next.ack(Vec::new()).await.unwrap(), Settled::Done);
    }
    seen
}

fn by_repository(seen: &[(String, u32)]) -> BTreeMap<&str, Vec<&str>> {
    let mut repositories: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, _) in seen {
        let (repo, number) = id.split_once('-').unwrap();
        repositories.entry(repo).or_default().push(number);
    }
    repositories
}

#[tokio::test]
async fn reordering_mixes_repositories_but_never_the_steps_of_one() {
    let plain = drain(&strict(Strictness::default()).await, Work::Steps).await;
    let mut orders = BTreeSet::new();
    for seed in [1, 2, 3, 1] {
        let strictness = Strictness {
            reorder: Some(seed),
            ..Strictness::default()
        };
        let seen = drain(&strict(strictness).await, Work::Steps).await;
        assert_ne!(seen, plain);
        for (repo, numbers) in by_repository(&seen) {
            assert_eq!(numbers.len(), 20, "{repo}");
            assert!(numbers.is_sorted(), "{repo}: {numbers:?}");
        }
        orders.insert(seen);
    }
    assert_eq!(orders.len(), 3, "the same seed gives the same order");
}

#[tokio::test]
async fn reordering_mixes_the_deliveries_of_one_repository() {
    let strictness = Strictness {
        reorder: Some(7),
        ..Strictness::default()
    };
    let seen = drain(&strict(strictness).await, Work::Plan).await;
    let repositories = by_repository(&seen);
    assert_eq!(seen.len(), 120);
    assert!(
        repositories.values().any(|numbers| !numbers.is_sorted()),
        "{repositories:?}"
    );
}

#[tokio::test]
async fn lost_acknowledgements_bring_each_message_twice_at_most() {
    let strictness = Strictness {
        redeliver: 50,
        ..Strictness::default()
    };
    let seen = drain(&strict(strictness).await, Work::Steps).await;
    let again = seen.iter().filter(|(_, attempt)| *attempt == 1).count();
    assert!((30..90).contains(&again), "{again}");
    assert_eq!(seen.len(), 120 + again);
    let once: BTreeSet<_> = seen.iter().map(|(id, _)| id).collect();
    assert_eq!(once.len(), 120);
}

#[tokio::test]
async fn an_expired_lease_is_refused_and_free_for_the_next() {
    let world = strict(Strictness {
        expire_leases: 100,
        ..Strictness::default()
    })
    .await;
    let repo = RepoId::new(1);
    let zombie = world.fleet.acquire(repo).await.unwrap();
    let checked = zombie.lease().check(repo, world.now());
    assert!(matches!(checked, Err(LeaseExpired::Late { .. })), "{checked:?}");
    tokio::time::timeout(Duration::from_secs(20), zombie.lost())
        .await
        .unwrap();
    // The zombie does not know yet, and another has the lock already.
    let next = world.fleet.acquire(repo).await.unwrap();
    assert!(next.lease().fence() > zombie.lease().fence());
}
