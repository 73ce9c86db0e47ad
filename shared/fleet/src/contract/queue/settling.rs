//! What becomes of a message that was handed out.

use std::time::Duration;

use lockflight_promotion::message::Outcome;

use super::super::QueueWorld;
use super::super::sample::{delivery, outcome, step};
use super::{ack, id, journaled, outcomes, publish, receive, receives_nothing, until_depth, until_idle};
use crate::{Delivery as _, Queue as _, Retried, Settled, Work};

pub async fn an_acknowledged_message_is_gone_and_what_follows_is_there(world: impl QueueWorld) {
    publish(&world, &[delivery(1, "d1")]).await;
    let first = receive(&world, Work::Plan).await;
    let follow = vec![step(1, "s1"), outcome(1, "o1")];
    assert_eq!(first.ack(follow).await.unwrap(), Settled::Done);
    until_idle(&world, Work::Plan).await;
    assert_eq!(id(&receive(&world, Work::Steps).await), "s1");
    assert_eq!(journaled(&world).await, ["d1", "s1", "o1"]);
}

pub async fn a_failed_message_waits_and_is_parked_after_the_last_attempt(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    for attempt in 0..world.max_attempts() {
        let next = receive(&world, Work::Steps).await;
        assert_eq!((next.attempt(), next.envelope().attempt), (attempt, attempt));
        let retried = next
            .retry(&format!("broken {attempt}"), Vec::new())
            .await
            .unwrap();
        if attempt + 1 < world.max_attempts() {
            let Retried::After(wait) = retried else {
                panic!("{retried:?} at {attempt}")
            };
            assert!(wait <= world.longest_wait());
            until_depth(&world, Work::Steps, |depth| depth.delayed == 1).await;
            world.pass(wait).await;
        } else {
            assert_eq!(retried, Retried::Parked);
        }
    }
    world.pass(world.longest_wait()).await;
    receives_nothing(&world, Work::Steps).await;
    let parked = world.queue().parked().await.unwrap();
    let [parked] = parked.as_slice() else {
        panic!("{parked:?}")
    };
    let last = world.max_attempts() - 1;
    assert_eq!(parked.work, Work::Steps);
    assert_eq!(parked.reason, format!("broken {last}"));
    assert_eq!(parked.attempts, world.max_attempts());
    assert_eq!(parked.content.envelope().map(|e| e.id.as_str()), Some("s1"));
    until_depth(&world, Work::Steps, |depth| {
        (depth.parked, depth.oldest_age) == (1, None)
    })
    .await;
    // The journal has the whole story.
    let outcomes = outcomes(&world).await;
    let retried = outcomes.iter().filter(|o| matches!(o, Outcome::Retried { .. }));
    assert_eq!(retried.count(), usize::try_from(last).unwrap());
    let parked = Outcome::Parked {
        reason: format!("broken {last}"),
    };
    assert_eq!(outcomes.last(), Some(&parked));
}

pub async fn a_parked_message_stays_until_it_is_released(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1"), step(1, "s2")]).await;
    let first = receive(&world, Work::Steps).await;
    assert_eq!(
        first
            .park("no such branch", vec![outcome(1, "o1")])
            .await
            .unwrap(),
        Settled::Done
    );
    let second = receive(&world, Work::Steps).await;
    assert_eq!(id(&second), "s2");
    ack(second).await;
    let parked = world.queue().parked().await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].reason, "no such branch");
    assert!(journaled(&world).await.contains(&"o1".to_owned()));
    assert!(world.queue().release(&parked[0].id).await.unwrap());
    let again = receive(&world, Work::Steps).await;
    assert_eq!((id(&again).as_str(), again.attempt()), ("s1", 0));
    assert!(
        !world.queue().release(&parked[0].id).await.unwrap(),
        "released twice"
    );
    assert!(world.queue().parked().await.unwrap().is_empty());
}

pub async fn deferring_counts_nothing(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    let wait = Duration::from_secs(1);
    for _ in 0..world.max_attempts() + 2 {
        let next = receive(&world, Work::Steps).await;
        assert_eq!(next.attempt(), 0);
        assert_eq!(next.defer(wait, Vec::new()).await.unwrap(), Settled::Done);
        until_depth(&world, Work::Steps, |depth| depth.delayed == 1).await;
        world.pass(wait).await;
    }
    ack(receive(&world, Work::Steps).await).await;
    assert!(world.queue().parked().await.unwrap().is_empty());
}

pub async fn what_is_not_settled_in_time_comes_again_and_the_late_worker_is_told(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    let late = receive(&world, Work::Steps).await;
    world.pass(world.visibility()).await;
    let again = receive(&world, Work::Steps).await;
    assert_eq!((id(&again).as_str(), again.attempt()), ("s1", 1));
    assert_eq!(late.keep().await.unwrap(), Settled::Stale);
    assert_eq!(late.ack(Vec::new()).await.unwrap(), Settled::Stale);
    // The late word changed nothing for the one who has it now.
    ack(again).await;
    until_idle(&world, Work::Steps).await;
}

pub async fn a_kept_message_stays_with_its_worker(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    let mine = receive(&world, Work::Steps).await;
    for _ in 0..4 {
        world.pass(world.visibility() / 2).await;
        assert_eq!(mine.keep().await.unwrap(), Settled::Done);
        receives_nothing(&world, Work::Steps).await;
    }
    ack(mine).await;
}

pub async fn a_dropped_delivery_comes_again_counted(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    drop(receive(&world, Work::Steps).await);
    let again = receive(&world, Work::Steps).await;
    assert_eq!(again.attempt(), 1);
    ack(again).await;
}

pub async fn a_panicking_worker_gives_its_message_back(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    let doomed = receive(&world, Work::Steps).await;
    let worker = tokio::spawn(async move {
        let _doomed = doomed;
        panic!("on purpose");
    });
    assert!(worker.await.unwrap_err().is_panic());
    // Given back.
    until_depth(&world, Work::Steps, |depth| depth.in_flight == 0).await;
    world.pass(world.longest_wait()).await;
    let again = receive(&world, Work::Steps).await;
    assert_eq!(again.attempt(), 1);
    ack(again).await;
}
