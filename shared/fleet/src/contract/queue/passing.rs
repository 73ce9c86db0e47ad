//! Webhooks that are passed on: a queue of their own, and nothing of their bodies in the journal.

use std::collections::BTreeSet;

use lockflight_promotion::message::Outcome;

use super::super::QueueWorld;
use super::super::sample::{forward, outcome, push};
use super::{ack, id, journaled, outcomes, publish, receive, receives_nothing, until_depth, until_idle};
use crate::{Delivery as _, Queue as _, Retried, Settled, Work};

pub async fn webhooks_that_are_passed_on_are_received_and_not_journaled(world: impl QueueWorld) {
    let (push, first, second) = (push(1, "p1"), forward(1, "f1"), forward(2, "f2"));
    publish(&world, std::slice::from_ref(&push)).await;
    let planned = receive(&world, Work::Plan).await;
    assert_eq!((planned.envelope(), planned.attempt()), (&push, 0));
    // What follows from a message goes the same way as what is published.
    let follow = vec![first.clone(), outcome(1, "o1"), second.clone()];
    assert_eq!(planned.ack(follow).await.unwrap(), Settled::Done);
    for _ in 0..2 {
        let next = receive(&world, Work::Forward).await;
        let sent = if id(&next) == "f1" { &first } else { &second };
        assert_eq!((next.envelope(), next.attempt()), (sent, 0));
        ack(next).await;
    }
    receives_nothing(&world, Work::Forward).await;
    for work in Work::ALL {
        until_idle(&world, work).await;
    }
    assert_eq!(journaled(&world).await, ["o1"]);
}

pub async fn webhooks_of_one_repository_are_passed_on_side_by_side(world: impl QueueWorld) {
    let many: Vec<_> = (0..8).map(|n| forward(1, &format!("f{n}"))).collect();
    publish(&world, &many).await;
    let mut out = Vec::new();
    for _ in 0..8 {
        out.push(receive(&world, Work::Forward).await);
    }
    let ids: BTreeSet<_> = out.iter().map(id).collect();
    assert_eq!(ids.len(), 8, "{ids:?}");
    until_depth(&world, Work::Forward, |depth| depth.in_flight == 8).await;
    for delivery in out {
        ack(delivery).await;
    }
    until_idle(&world, Work::Forward).await;
}

pub async fn a_webhook_that_is_not_taken_waits_and_is_parked_and_released(world: impl QueueWorld) {
    publish(&world, &[forward(1, "f1")]).await;
    for attempt in 0..world.max_attempts() {
        let delivery = receive(&world, Work::Forward).await;
        assert_eq!(delivery.attempt(), attempt);
        let retried = delivery.retry("it answered 503", Vec::new()).await.unwrap();
        if attempt + 1 < world.max_attempts() {
            assert!(matches!(retried, Retried::After(_)), "{retried:?}");
            receives_nothing(&world, Work::Forward).await;
            world.pass(world.longest_wait()).await;
        } else {
            assert_eq!(retried, Retried::Parked);
        }
    }
    until_depth(&world, Work::Forward, |depth| depth.parked == 1).await;
    let parked = world.queue().parked().await.unwrap();
    let [parked] = parked.as_slice() else {
        panic!("{parked:?}")
    };
    assert_eq!(
        (parked.work, parked.reason.as_str()),
        (Work::Forward, "it answered 503")
    );
    assert_eq!(parked.content.envelope().unwrap().body, forward(1, "f1").body);
    assert!(world.queue().release(&parked.id).await.unwrap());
    let again = receive(&world, Work::Forward).await;
    assert_eq!((id(&again).as_str(), again.attempt()), ("f1", 0));
    ack(again).await;
    let told = outcomes(&world).await;
    let retried = told
        .iter()
        .filter(|outcome| matches!(outcome, Outcome::Retried { .. }));
    assert_eq!(
        retried.count() + 1,
        usize::try_from(world.max_attempts()).unwrap()
    );
    assert!(matches!(told.last(), Some(Outcome::Parked { .. })), "{told:?}");
}
