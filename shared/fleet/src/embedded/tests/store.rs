//! Group commit, fairness to readers, and waiting for quiet.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::World;
use crate::contract::QUIET;
use crate::contract::sample::{delivery, forward, step};
use crate::embedded::store::StoreError;
use crate::embedded::{EmbeddedFleet, EmbeddedOptions};
use crate::{
    Delivery as _, InspectError, Journal as _, LockGuard as _, Offset, Queue as _, RepoLock as _, Settled,
    Work,
};

#[tokio::test]
async fn an_operation_that_fails_undoes_itself_and_nothing_else() {
    let world = World::new().await;
    let store = &world.fleet.inner.store;
    let broken = store.run(|session| {
        let message = crate::wire::Encoded::new(&step(1, "half")).unwrap();
        session.publish(&[message])?;
        session.execute("INSERT INTO no_such_table VALUES (1)", [])
    });
    let (before, after) = ([step(1, "before")], [step(1, "after")]);
    let (first, broken, last) =
        tokio::join!(world.fleet.publish(&before), broken, world.fleet.publish(&after));
    assert!(matches!(broken, Err(StoreError::Sqlite(_))), "{broken:?}");
    first.unwrap();
    last.unwrap();
    assert_eq!(world.fleet.depth(Work::Steps).await.unwrap().ready, 2);
    let page = world.fleet.read(Offset::START, 10).await.unwrap();
    assert_eq!(page.len(), 2);
    // Readers are not told of what was undone.
    let undone = store.run(|session| {
        let message = crate::wire::Encoded::new(&step(1, "half")).unwrap();
        session.publish(&[message])?;
        session.execute("INSERT INTO no_such_table VALUES (1)", [])
    });
    assert!(undone.await.is_err());
    let told = tokio::time::timeout(QUIET, world.fleet.changed(page[1].offset)).await;
    assert!(told.is_err());
}

#[tokio::test]
async fn a_message_that_nobody_has_had_yet_stands_for_equal_ones() {
    let fleet = EmbeddedFleet::open_in_memory(EmbeddedOptions::default())
        .await
        .unwrap();
    let equal = [
        delivery(1, "d"),
        delivery(1, "d"),
        delivery(2, "d"),
        delivery(1, "other"),
    ];
    fleet.publish(&equal).await.unwrap();
    fleet.publish(&equal).await.unwrap();
    assert_eq!(fleet.depth(Work::Plan).await.unwrap().ready, 3);
    assert_eq!(
        fleet.read(Offset::START, 100).await.unwrap().len(),
        8,
        "the journal has all"
    );
    // What is in a worker's hands may have been looked at already: an equal one is work again.
    let in_hand = fleet.receive(Work::Plan, 1).await.unwrap().unwrap().remove(0);
    fleet.publish(&[in_hand.envelope().clone()]).await.unwrap();
    let depth = fleet.depth(Work::Plan).await.unwrap();
    assert_eq!((depth.ready, depth.in_flight), (3, 1));
}

#[tokio::test]
async fn a_webhook_that_waits_to_be_passed_on_stands_for_its_copies() {
    let fleet = EmbeddedFleet::open_in_memory(EmbeddedOptions::default())
        .await
        .unwrap();
    let equal = [forward(1, "f"), forward(1, "f"), forward(1, "other")];
    fleet.publish(&equal).await.unwrap();
    fleet.publish(&equal).await.unwrap();
    assert_eq!(fleet.depth(Work::Forward).await.unwrap().ready, 2);
}

#[tokio::test]
async fn what_waits_because_it_failed_is_due_when_it_is_asked_for_anew() {
    let fleet = EmbeddedFleet::open_in_memory(EmbeddedOptions::default())
        .await
        .unwrap();
    let message = [delivery(1, "d")];
    fleet.publish(&message).await.unwrap();
    let in_hand = fleet.receive(Work::Plan, 1).await.unwrap().unwrap().remove(0);
    let failed = in_hand.retry("no luck", Vec::new()).await.unwrap();
    assert!(matches!(failed, crate::Retried::After(_)));
    // A person who asks for it again gets it now.
    fleet.publish(&message).await.unwrap();
    let depth = fleet.depth(Work::Plan).await.unwrap();
    assert_eq!((depth.ready, depth.delayed), (1, 0));
}

#[tokio::test]
async fn a_fleet_in_memory_works_alike() {
    let fleet = EmbeddedFleet::open_in_memory(EmbeddedOptions::default())
        .await
        .unwrap();
    fleet.publish(&[delivery(1, "d1")]).await.unwrap();
    let planned = fleet.receive(Work::Plan, 1).await.unwrap().unwrap().remove(0);
    assert_eq!(planned.ack(vec![step(1, "s1")]).await.unwrap(), Settled::Done);
    let stepped = fleet.receive(Work::Steps, 1).await.unwrap().unwrap().remove(0);
    let guard = fleet.acquire(stepped.envelope().repo.id).await.unwrap();
    assert_eq!(
        guard.lease().check(stepped.envelope().repo.id, Instant::now()),
        Ok(())
    );
    guard.release().await.unwrap();
    assert_eq!(stepped.ack(Vec::new()).await.unwrap(), Settled::Done);
    fleet.quiet().await;
    assert_eq!(fleet.read(Offset::START, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_locked_file_is_an_error_that_passes() {
    let world = World::new().await;
    world.fleet.publish(&[step(1, "s1")]).await.unwrap();
    // Somebody with sqlite3 has a transaction open for longer than we wait.
    let mut other = Connection::open(world.path()).unwrap();
    let transaction = other
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    let refused = world.fleet.depth(Work::Steps).await;
    assert!(matches!(refused, Err(InspectError::Backend(_))), "{refused:?}");
    transaction.rollback().unwrap();
    assert_eq!(world.fleet.depth(Work::Steps).await.unwrap().ready, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_concurrent_publishers_are_fast() {
    let world = World::new().await;
    let started = Instant::now();
    let publishers: Vec<_> = (0..100)
        .map(|repo| {
            let fleet = world.fleet.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    fleet.publish(&[step(repo, &format!("m{n}"))]).await.unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let took = started.elapsed();
    assert_eq!(world.fleet.depth(Work::Steps).await.unwrap().ready, 2_000);
    println!("2,000 durable publishes by 100 publishers took {took:?}");
    // They share commits, so this is far from the bound even on a slow disk and a busy machine.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn a_long_queue_of_one_repository_does_not_slow_the_others_down() {
    let world = World::new().await;
    let flood: Vec<_> = (0..10_000).map(|n| step(1, &format!("f{n}"))).collect();
    world.fleet.publish(&flood).await.unwrap();
    let busy = world
        .fleet
        .receive(Work::Steps, 1)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    let started = Instant::now();
    for n in 0..50 {
        world.fleet.publish(&[step(2, &format!("o{n}"))]).await.unwrap();
        let other = world
            .fleet
            .receive(Work::Steps, 1)
            .await
            .unwrap()
            .unwrap()
            .remove(0);
        assert_eq!(other.envelope().id.as_str(), format!("o{n}"));
        assert_eq!(other.ack(Vec::new()).await.unwrap(), Settled::Done);
    }
    let took = started.elapsed();
    println!("50 rounds past 10,000 waiting messages took {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(busy.ack(Vec::new()).await.unwrap(), Settled::Done);
}

#[tokio::test]
async fn quiet_comes_when_all_work_is_settled_or_parked() {
    let world = World::new().await;
    world.fleet.quiet().await;
    world.fleet.publish(&[delivery(1, "d1")]).await.unwrap();
    let fleet = world.fleet.clone();
    let quiet = tokio::spawn(async move { fleet.quiet().await });
    let planned = world
        .fleet
        .receive(Work::Plan, 1)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    let steps = vec![step(1, "s1"), step(2, "s2")];
    assert_eq!(planned.ack(steps).await.unwrap(), Settled::Done);
    let first = world
        .fleet
        .receive(Work::Steps, 1)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    let second = world
        .fleet
        .receive(Work::Steps, 1)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    assert_eq!(first.ack(Vec::new()).await.unwrap(), Settled::Done);
    let wait = Duration::from_secs(5);
    assert_eq!(second.defer(wait, Vec::new()).await.unwrap(), Settled::Done);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!quiet.is_finished());
    world.clock.advance(wait);
    let second = world
        .fleet
        .receive(Work::Steps, 1)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    assert_eq!(second.park("no", Vec::new()).await.unwrap(), Settled::Done);
    tokio::time::timeout(Duration::from_secs(20), quiet)
        .await
        .unwrap()
        .unwrap();
}
