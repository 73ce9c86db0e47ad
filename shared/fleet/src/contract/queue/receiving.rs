//! How workers wait.

use std::time::Duration;

use super::super::sample::{outcome, step};
use super::super::{QUIET, QueueWorld, in_time};
use super::{ack, journaled, publish, receive};
use crate::{Delivery as _, Queue as _, Settled, Work};

pub async fn a_cancelled_receive_loses_nothing(world: impl QueueWorld) {
    for round in 0..50_u32 {
        publish(&world, &[step(1, "s1")]).await;
        let queue = world.queue();
        // Cancelled at every point that it happens to have come to.
        let racing = tokio::spawn(async move { queue.receive(Work::Steps, 1).await });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        racing.abort();
        if let Ok(received) = racing.await {
            ack(received.unwrap().unwrap().remove(0)).await;
        } else {
            let again = receive(&world, Work::Steps).await;
            assert_eq!(again.attempt(), 0, "round {round}");
            ack(again).await;
        }
    }
}

pub async fn a_waiting_worker_is_woken_by_work_and_by_time(world: impl QueueWorld) {
    let queue = world.queue();
    let waiting = tokio::spawn(async move { queue.receive(Work::Steps, 1).await });
    tokio::time::sleep(QUIET).await;
    publish(&world, &[step(1, "s1")]).await;
    let first = in_time("the waiting worker", waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .remove(0);
    let wait = Duration::from_secs(2);
    assert_eq!(first.defer(wait, Vec::new()).await.unwrap(), Settled::Done);
    let queue = world.queue();
    let waiting = tokio::spawn(async move { queue.receive(Work::Steps, 1).await });
    tokio::time::sleep(QUIET).await;
    assert!(!waiting.is_finished());
    world.pass(wait).await;
    ack(in_time("the waiting worker", waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .remove(0))
    .await;
}

pub async fn a_closed_queue_hands_out_nothing_but_settles(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1"), step(2, "s2")]).await;
    let first = receive(&world, Work::Steps).await;
    let queue = world.queue();
    let waiting = tokio::spawn(async move { queue.receive(Work::Plan, 1).await });
    tokio::time::sleep(QUIET).await;
    world.close().await;
    assert!(
        in_time("the waiting worker", waiting)
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
    assert!(world.queue().receive(Work::Steps, 1).await.unwrap().is_none());
    assert_eq!(first.ack(vec![outcome(1, "o1")]).await.unwrap(), Settled::Done);
    assert_eq!(journaled(&world).await, ["s1", "s2", "o1"]);
}
