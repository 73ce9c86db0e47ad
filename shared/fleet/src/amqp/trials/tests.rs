//! Who is tried when, without a broker.

use lapin::message::Delivery;
use lapin::types::AMQPValue;
use lockflight_promotion::message::Envelope;

use super::super::message::{LOST, Outgoing, headers_of};
use super::super::names::Names;
use super::super::{AmqpOptions, AmqpUri};
use super::*;
use crate::contract::sample::{delivery, step};

/// A step as it comes: with so many losses counted by us, and by the broker if it was handed out before.
fn step_of(id: &str, lost: u32, taken_back: Option<i64>) -> Arc<Incoming> {
    coming(&step(1, id), lost, taken_back)
}

fn coming(envelope: &Envelope, lost: u32, taken_back: Option<i64>) -> Arc<Incoming> {
    let names = Names::new(&AmqpOptions::new(AmqpUri::parse("amqp://localhost").unwrap()));
    let outgoing = Outgoing::event(envelope, &names, 1 << 20).unwrap();
    let mut headers = headers_of(&outgoing.properties);
    headers.insert(LOST.into(), AMQPValue::LongLongInt(lost.into()));
    if let Some(count) = taken_back {
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(count));
    }
    let mut delivery = Delivery::mock(
        1,
        "lockflight.work".into(),
        outgoing.routing_key.clone(),
        taken_back.is_some(),
        outgoing.body.to_vec(),
    );
    delivery.properties = outgoing.properties.with_headers(headers);
    Arc::new(Incoming::read(delivery))
}

#[test]
fn only_what_came_back_often_or_was_lost_before_is_written_down() {
    let trials = Trials::default();
    for (lost, taken_back, expected) in [
        (0, None, false),
        (0, Some(9), false),
        (0, Some(10), true),
        (1, None, true),
        (1, Some(1), true),
    ] {
        let incoming = step_of("s", lost, taken_back);
        assert_eq!(
            trials.is_to_be_written(&incoming),
            expected,
            "{lost} {taken_back:?}"
        );
    }
}

#[test]
fn a_plan_is_written_down_only_once_the_broker_took_it_back() {
    let trials = Trials::default();
    for (lost, taken_back, expected) in [
        (0, None, false),
        (0, Some(9), false),
        (0, Some(10), true),
        (1, None, false),
        (9, None, false),
        (1, Some(1), true),
    ] {
        let incoming = coming(&delivery(1, "d"), lost, taken_back);
        assert_eq!(
            trials.is_to_be_written(&incoming),
            expected,
            "{lost} {taken_back:?}"
        );
    }
}

#[test]
fn a_copy_that_is_not_written_down_goes_alone_all_the_same() {
    let mut trials = Trials::default();
    let fresh = coming(&delivery(1, "fresh"), 2, None);
    let other = coming(&delivery(1, "other"), 1, Some(1));
    trials.handed_out(&fresh);
    assert!(!trials.may(&other));
    assert!(trials.end(Instant::now(), &fresh).is_none());
    assert!(trials.may(&other));
}

#[tokio::test]
async fn a_copy_that_comes_twice_is_kept_once() {
    let mut trials = Trials::default();
    let incoming = step_of("s", 0, Some(10));
    trials.begin(&incoming);
    let (copy, twin) = (step_of("s", 1, None), step_of("s", 1, None));
    assert_eq!(trials.arrived(&copy), Arrived::Copy);
    assert_eq!(
        trials.arrived(&twin),
        Arrived::Done,
        "it is acknowledged and dropped"
    );
    let back = trials.end(Instant::now(), &incoming).unwrap();
    assert!(Arc::ptr_eq(&back, &copy));
}

#[test]
fn few_suspects_go_together_and_one_that_was_counted_twice_goes_alone() {
    let mut trials = Trials::default();
    let few: Vec<_> = (0..5).map(|n| step_of(&format!("s{n}"), 1, None)).collect();
    let grave = step_of("grave", 2, None);
    for incoming in &few[..4] {
        assert!(trials.may(incoming));
        trials.begin(incoming);
        assert!(!trials.may(incoming), "it is at it already");
        assert!(!trials.may(&grave));
    }
    assert!(!trials.may(&few[4]));
    assert!(
        trials.may(&step_of("innocent", 0, None)),
        "it holds up nobody else"
    );
    for incoming in &few[..4] {
        assert!(trials.end(Instant::now(), incoming).is_none());
    }
    assert!(trials.may(&grave));
    trials.begin(&grave);
    assert!(!trials.may(&few[4]));
}

#[tokio::test]
async fn a_copy_is_kept_for_its_message_and_acknowledged_with_it() {
    let mut trials = Trials::default();
    let (first, second) = (step_of("first", 0, Some(10)), step_of("second", 0, Some(10)));
    for incoming in [&first, &second] {
        trials.begin(incoming);
    }
    // The copy of the one comes before the broker confirms it, that of the other when it is done.
    assert_eq!(trials.arrived(&step_of("first", 1, None)), Arrived::Copy);
    for incoming in [&first, &second] {
        drop(incoming.give_way().await);
        assert!(incoming.is_ours());
    }
    assert_eq!(
        trials.arrived(&step_of("first", 5, None)),
        Arrived::Unknown,
        "another of its name"
    );
    for incoming in [&first, &second] {
        drop(incoming.acknowledge().await);
        assert!(!incoming.is_ours());
        assert!(trials.end(Instant::now(), incoming).is_none());
    }
    assert_eq!(trials.arrived(&step_of("first", 1, None)), Arrived::Unknown);
    let late = step_of("second", 1, None);
    assert_eq!(trials.arrived(&late), Arrived::Done);
    assert_eq!(trials.arrived(&late), Arrived::Unknown, "there is one copy");
}

#[tokio::test]
async fn a_copy_of_what_was_not_settled_goes_back() {
    let mut trials = Trials::default();
    let incoming = step_of("s", 0, Some(10));
    trials.begin(&incoming);
    drop(incoming.give_way().await);
    let copy = step_of("s", 1, None);
    assert_eq!(trials.arrived(&copy), Arrived::Copy);
    let back = trials.end(Instant::now(), &incoming).unwrap();
    assert!(Arc::ptr_eq(&back, &copy));
    assert_eq!(
        trials.arrived(&copy),
        Arrived::Unknown,
        "it is a message like others now"
    );
}

#[test]
fn what_was_held_when_a_connection_ended_is_no_suspect_until_it_is_handed_out() {
    let mut trials = Trials::default();
    let incoming = step_of("s", 0, Some(20));
    assert!(trials.is_to_be_written(&incoming));
    trials.excuse([&incoming].into_iter());
    assert!(trials.may(&incoming) && !trials.is_to_be_written(&incoming));
    trials.handed_out(&incoming);
    assert!(trials.is_to_be_written(&incoming));
}
