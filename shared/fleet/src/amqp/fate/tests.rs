use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};

use super::super::AmqpUri;
use super::super::message::{DUE, FAILED, LOST, REASON, headers_of, integer};
use super::*;
use crate::Schedule;
use crate::contract::sample::step;
use crate::wire::Content;

fn fates() -> Fates {
    let options = AmqpOptions {
        max_attempts: 3,
        max_losses: 3,
        backoff: Schedule {
            initial: Duration::from_secs(40),
            factor: 2.0,
            max: Duration::from_hours(1),
            jitter: 0.0,
        },
        ..AmqpOptions::new(AmqpUri::parse("amqp://localhost").unwrap())
    };
    Fates {
        names: Names::new(&options),
        options,
    }
}

/// A step as it comes, with these headers.
fn incoming(headers: &[(&str, i64)]) -> Incoming {
    let fates = fates();
    let step = Outgoing::event(&step(7, "s1"), &fates.names, 1 << 20).unwrap();
    coming_back(&step, headers)
}

/// What was published, as it comes.
fn coming_back(outgoing: &Outgoing, more: &[(&str, i64)]) -> Incoming {
    let mut headers = headers_of(&outgoing.properties);
    for (name, value) in more {
        headers.insert((*name).into(), AMQPValue::LongLongInt(*value));
    }
    let redelivered = more.iter().any(|(name, _)| *name == "x-delivery-count");
    let mut delivery = Delivery::mock(
        1,
        "lockflight.work".into(),
        outgoing.routing_key.clone(),
        redelivered,
        outgoing.body.to_vec(),
    );
    delivery.properties = outgoing.properties.clone().with_headers(headers);
    Incoming::read(delivery)
}

fn header(outgoing: &Outgoing, name: &str) -> Option<i64> {
    integer(&headers_of(&outgoing.properties), name)
}

fn reason(outgoing: &Outgoing) -> Option<String> {
    match headers_of(&outgoing.properties).inner().get(REASON)? {
        AMQPValue::LongString(reason) => Some(String::from_utf8_lossy(reason.as_bytes()).into_owned()),
        other => panic!("{other:?}"),
    }
}

fn outcome(outgoing: &Outgoing) -> Outcome {
    match Content::decode(&outgoing.body) {
        Content::Envelope(envelope) => match envelope.body {
            Body::Outcome(outcome) => outcome,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// How long until a message is due, in whole seconds as a person would say.
fn seconds_left(outgoing: &Outgoing) -> i64 {
    let left = header(outgoing, DUE).unwrap() - now_millis();
    (left + 500) / 1_000
}

#[test]
fn a_failure_is_counted_and_waits_on_the_longest_rung_that_fits() {
    let (retried, publish) = fates().failed(&incoming(&[]), "broken");
    let wait = Duration::from_secs(40);
    assert_eq!(retried, Retried::After(wait));
    let [told, again] = publish.as_slice() else {
        panic!("{publish:?}")
    };
    assert_eq!(again.exchange.as_str(), "lockflight.retry.30s");
    assert_eq!(again.routing_key, incoming(&[]).routing_key);
    assert_eq!((header(again, FAILED), header(again, LOST)), (Some(1), Some(0)));
    assert_eq!(reason(again).as_deref(), Some("broken"));
    assert_eq!(seconds_left(again), 40);
    let expected = Outcome::Retried {
        reason: "broken".to_owned(),
        after_ms: 40_000,
    };
    assert_eq!(outcome(told), expected);
}

#[test]
fn what_is_not_due_yet_goes_on_from_rung_to_rung_and_sits_out_the_rest() {
    let fates = fates();
    let wait = Duration::from_secs(40);
    let again = fates.deferred(&incoming(&[]), wait);
    let back = coming_back(&again, &[]);
    assert!(back.left().is_some_and(|left| left <= wait));
    for (left, rung) in [
        (wait, Some("lockflight.retry.30s")),
        (Duration::from_secs(10), Some("lockflight.retry.5s")),
        (Duration::from_secs(5), Some("lockflight.retry.5s")),
        (Duration::from_hours(30), Some("lockflight.retry.1h")),
        (Duration::from_secs(4), None),
    ] {
        let hop = fates.hop(&back, left);
        assert_eq!(hop.as_ref().map(|hop| hop.exchange.as_str()), rung, "{left:?}");
        if let Some(hop) = hop {
            assert_eq!(header(&hop, DUE), header(&again, DUE), "{left:?}");
        }
    }
    let short = fates.deferred(&incoming(&[]), Duration::from_secs(4));
    assert_eq!(short.exchange.as_str(), "lockflight.work");
    assert_eq!(seconds_left(&short), 4);
    assert_eq!(incoming(&[(DUE, now_millis() - 1)]).left(), None);
}

#[test]
fn the_last_failure_parks_and_losses_do_not_count_as_failures() {
    let (retried, _) = fates().failed(&incoming(&[(FAILED, 1), (LOST, 50)]), "broken");
    assert!(matches!(retried, Retried::After(_)), "{retried:?}");
    let (retried, publish) = fates().failed(&incoming(&[(FAILED, 2), (LOST, 1)]), "broken");
    assert_eq!(retried, Retried::Parked);
    let [told, parked] = publish.as_slice() else {
        panic!("{publish:?}")
    };
    assert_eq!(
        (parked.exchange.as_str(), parked.routing_key.as_str()),
        ("", "lockflight.parked")
    );
    assert_eq!((header(parked, FAILED), header(parked, LOST)), (Some(3), Some(1)));
    assert_eq!(reason(parked).as_deref(), Some("broken"));
    let expected = Outcome::Parked {
        reason: "broken".to_owned(),
    };
    assert_eq!(outcome(told), expected);
}

#[test]
fn what_was_lost_comes_again_at_once_and_after_a_panic_later() {
    let publish = fates().lost(&incoming(&[(FAILED, 1)]), "gone", false);
    let [back] = publish.as_slice() else {
        panic!("{publish:?}")
    };
    assert_eq!(back.exchange.as_str(), "lockflight.work");
    assert_eq!((header(back, FAILED), header(back, LOST)), (Some(1), Some(1)));
    assert_eq!(header(back, DUE), None);
    let publish = fates().lost(&incoming(&[(LOST, 1)]), "panicked", true);
    assert_eq!(seconds_left(&publish[0]), 80, "as after the second failure");
    let publish = fates().lost(&incoming(&[(LOST, 2)]), "gone", false);
    assert_eq!(publish[1].routing_key.as_str(), "lockflight.parked");
    assert_eq!(reason(&publish[1]).as_deref(), Some("gone, 3 times"));
}

#[test]
fn what_the_broker_counts_shows_and_goes_no_further() {
    let once = incoming(&[(FAILED, 1), (LOST, 1), ("x-delivery-count", 3)]);
    assert_eq!(once.attempt(), 5);
    let back = fates().put_back(&once);
    assert_eq!((header(&back, FAILED), header(&back, LOST)), (Some(1), Some(1)));
    assert_eq!(coming_back(&back, &[]).attempt(), 2);
    let parked = fates().parked(&once, "no such branch");
    assert_eq!(
        (header(&parked[1], FAILED), header(&parked[1], LOST)),
        (Some(1), Some(4))
    );
}

#[test]
fn what_can_not_be_read_is_parked_without_a_record() {
    let fates = fates();
    let bytes = Outgoing {
        exchange: "".into(),
        routing_key: "step.raw.p00".into(),
        body: b"{}".as_slice().into(),
        properties: BasicProperties::default().with_headers(FieldTable::default()),
        journaled: false,
    };
    let publish = fates.parked(&coming_back(&bytes, &[]), "not an envelope");
    assert_eq!(publish.len(), 1);
    assert_eq!(publish[0].body.as_ref(), b"{}");
}

#[test]
fn each_record_has_an_id_of_its_own_that_fits() {
    let long = step(7, &"x".repeat(200));
    let note = note(
        &long,
        4,
        Outcome::Parked {
            reason: "so".to_owned(),
        },
    )
    .unwrap();
    assert!(note.id.as_str().len() <= ID_CHARS);
    assert!(note.id.as_str().contains("xxx/parked."), "{}", note.id);
    assert_eq!((note.attempt, note.cause), (4, Some(long.id)));
}
