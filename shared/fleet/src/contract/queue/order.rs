//! Who gets what, and in which order.

use std::collections::BTreeSet;
use std::time::Duration;

use lockflight_promotion::message::Envelope;

use super::super::QueueWorld;
use super::super::sample::{delivery, forward, step};
use super::{ack, id, publish, receive, receive_batch, receives_nothing, until_depth};
use crate::{Delivery as _, Settled, Work};

pub async fn steps_of_a_repository_go_one_after_another_in_order(world: impl QueueWorld) {
    let steps: Vec<_> = (0..5).map(|n| step(1, &format!("s{n}"))).collect();
    publish(&world, &steps).await;
    for n in 0..5 {
        let first = receive(&world, Work::Steps).await;
        assert_eq!(id(&first), format!("s{n}"));
        receives_nothing(&world, Work::Steps).await;
        ack(first).await;
    }
    receives_nothing(&world, Work::Steps).await;
}

pub async fn steps_of_a_repository_come_in_batches_one_batch_at_a_time(world: impl QueueWorld) {
    let steps: Vec<_> = (0..7).map(|n| step(1, &format!("s{n}"))).collect();
    publish(&world, &steps).await;
    publish(&world, &[step(2, "other")]).await;
    let mut seen = Vec::new();
    while seen.len() < 8 {
        let batch = receive_batch(&world, Work::Steps, 3).await;
        assert!(batch.len() <= 3, "{}", batch.len());
        let repo = batch[0].envelope().repo.id;
        assert!(batch.iter().all(|delivery| delivery.envelope().repo.id == repo));
        for delivery in batch {
            seen.push(id(&delivery));
            ack(delivery).await;
        }
    }
    seen.retain(|id| id != "other");
    assert_eq!(seen, (0..7).map(|n| format!("s{n}")).collect::<Vec<_>>());
    receives_nothing(&world, Work::Steps).await;
}

pub async fn the_next_batch_of_a_repository_waits_for_the_last_of_the_one_before(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1"), step(1, "s2"), step(1, "s3")]).await;
    let mut batch = Vec::new();
    while batch.len() < 2 {
        batch = receive_batch(&world, Work::Steps, 2).await;
        // A queue may hand out the first before it has seen the second.
        if let [_] = batch.as_slice() {
            ack(batch.remove(0)).await;
            publish(&world, &[step(1, "s4")]).await;
        }
    }
    let last = batch.remove(1);
    ack(batch.remove(0)).await;
    receives_nothing(&world, Work::Steps).await;
    ack(last).await;
    receive_batch(&world, Work::Steps, 2).await;
}

pub async fn what_came_back_counted_is_handed_out_alone(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    drop(receive(&world, Work::Steps).await);
    publish(&world, &[step(1, "s2"), step(1, "s3")]).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        let batch = receive_batch(&world, Work::Steps, 3).await;
        let alone = batch.len() == 1;
        for delivery in batch {
            assert!(alone || delivery.attempt() == 0, "{}", id(&delivery));
            seen.insert(id(&delivery));
            ack(delivery).await;
        }
    }
}

pub async fn a_busy_repository_does_not_hold_up_another(world: impl QueueWorld) {
    let steps = [
        step(1, "a1"),
        step(1, "a2"),
        step(1, "a3"),
        step(2, "b1"),
        step(3, "c1"),
    ];
    publish(&world, &steps).await;
    let mut out = Vec::new();
    for _ in 0..3 {
        out.push(receive(&world, Work::Steps).await);
    }
    let ids: BTreeSet<_> = out.iter().map(id).collect();
    assert_eq!(ids, ["a1", "b1", "c1"].map(str::to_owned).into());
    receives_nothing(&world, Work::Steps).await;
    until_depth(&world, Work::Steps, |depth| depth.in_flight == 3).await;
}

pub async fn a_step_that_waits_does_not_hold_up_the_next_of_its_repository(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1"), step(1, "s2")]).await;
    let first = receive(&world, Work::Steps).await;
    let wait = Duration::from_secs(1);
    assert_eq!(first.defer(wait, Vec::new()).await.unwrap(), Settled::Done);
    let second = receive(&world, Work::Steps).await;
    assert_eq!(id(&second), "s2");
    world.pass(wait).await;
    receives_nothing(&world, Work::Steps).await;
    ack(second).await;
    assert_eq!(id(&receive(&world, Work::Steps).await), "s1");
}

pub async fn repositories_take_turns(world: impl QueueWorld) {
    for (work, make) in [
        (Work::Plan, delivery as fn(u64, &str) -> Envelope),
        (Work::Steps, step),
        (Work::Forward, forward),
    ] {
        let mut flood: Vec<_> = (0..100).map(|n| make(7, &format!("flood{n}"))).collect();
        flood.push(make(8, "patient"));
        publish(&world, &flood).await;
        let mut seen = Vec::new();
        while !seen.iter().any(|id| id == "patient") {
            let next = receive(&world, work).await;
            seen.push(id(&next));
            ack(next).await;
        }
        assert!(seen.len() <= world.longest_turn(), "{work}: {seen:?}");
    }
}

pub async fn plan_work_of_one_repository_goes_to_many_planners(world: impl QueueWorld) {
    publish(&world, &[delivery(1, "d1"), delivery(1, "d2")]).await;
    let first = receive(&world, Work::Plan).await;
    let second = receive(&world, Work::Plan).await;
    assert_ne!(id(&first), id(&second));
}
