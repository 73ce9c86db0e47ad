use lapin::types::LongString;
use lockflight_promotion::message::Outcome;

use super::*;
use crate::amqp::{AmqpOptions, AmqpUri};
use crate::contract::sample::{delivery, outcome, step};

const LIMIT: usize = 1 << 20;

fn names() -> Names {
    Names::new(&AmqpOptions::new(AmqpUri::parse("amqp://127.0.0.1").unwrap()))
}

/// What a consumer gets of a message that went through the broker.
fn arrived(message: &Outgoing, more: &[(&str, AMQPValue)]) -> Incoming {
    let mut delivery = Delivery::mock(
        1,
        message.exchange.clone(),
        message.routing_key.clone(),
        false,
        message.body.to_vec(),
    );
    let mut headers = headers_of(&message.properties);
    for (name, value) in more {
        headers.insert((*name).into(), value.clone());
    }
    delivery.properties = message.properties.clone().with_headers(headers);
    Incoming::read(delivery)
}

#[test]
fn what_is_published_arrives_as_it_was() {
    for (envelope, key, work) in [
        (
            delivery(7, "d1"),
            "delivery.pull_request".to_owned(),
            Some(Work::Plan),
        ),
        (
            step(7, "s1"),
            names().step_key("step.report", RepoId::new(7)),
            Some(Work::Steps),
        ),
        (outcome(7, "o1"), "outcome.ignored".to_owned(), None),
    ] {
        let message = Outgoing::event(&envelope, &names(), LIMIT).unwrap();
        assert_eq!(message.exchange.as_str(), "lockflight.events");
        assert_eq!(message.routing_key.as_str(), key);
        assert_eq!(*message.properties.delivery_mode(), Some(2));
        assert_eq!(
            message.properties.message_id().as_ref().map(ShortString::as_str),
            Some(envelope.id.as_str())
        );
        assert_eq!(
            message
                .properties
                .correlation_id()
                .as_ref()
                .map(ShortString::as_str),
            Some(envelope.delivery.as_str())
        );
        let incoming = arrived(&message, &[]);
        assert_eq!(incoming.content.envelope(), Some(&envelope));
        assert_eq!((incoming.work, incoming.repo), (work, RepoId::new(7)));
        assert_eq!((incoming.failed, incoming.lost, incoming.due), (0, 0, None));
        assert!((now_millis() - incoming.published).abs() < 60_000);
    }
}

#[test]
fn a_body_has_the_tag_that_its_type_says() {
    for envelope in [delivery(1, "d"), step(1, "s"), outcome(1, "o")] {
        let json: serde_json::Value = serde_json::to_value(&envelope).unwrap();
        let said = json
            .get("body")
            .and_then(|body| body.get("type"))
            .and_then(|tag| tag.as_str());
        assert_eq!(said, Some(tag(&envelope.body)));
    }
}

#[test]
fn a_large_body_is_compressed_and_one_that_is_still_too_large_is_refused() {
    let mut envelope = outcome(1, "o1");
    envelope.body = Body::Outcome(Outcome::Ignored {
        reason: "the same again and again. ".repeat(40_000),
    });
    let message = Outgoing::event(&envelope, &names(), LIMIT).unwrap();
    assert!(message.body.len() < 100_000, "{}", message.body.len());
    assert_eq!(
        message
            .properties
            .content_encoding()
            .as_ref()
            .map(ShortString::as_str),
        Some("deflate")
    );
    assert_eq!(arrived(&message, &[]).content.envelope(), Some(&envelope));
    let refused = Outgoing::event(&envelope, &names(), 100);
    assert!(matches!(refused, Err(Unfit::TooLarge { limit: 100, bytes }) if bytes == message.body.len()));
}

#[test]
fn what_can_t_be_decompressed_is_malformed() {
    let mut message = Outgoing::event(&delivery(1, "d1"), &names(), LIMIT).unwrap();
    message.properties = message.properties.with_content_encoding("deflate".into());
    let incoming = arrived(&message, &[]);
    assert!(matches!(&incoming.content, Content::Malformed { bytes, .. } if *bytes == message.body));
    assert_eq!(incoming.repo, RepoId::new(1), "the headers say whose it is");
}

#[test]
fn a_message_that_comes_again_keeps_its_body_and_takes_its_counts_along() {
    let message = Outgoing::event(&step(3, "s1"), &names(), LIMIT).unwrap();
    let brokers = [
        ("x-death", AMQPValue::LongString("anything".into())),
        ("x-delivery-count", AMQPValue::LongLongInt(4)),
        (PUBLISH, AMQPValue::LongLongInt(99)),
        (PUBLISHED, AMQPValue::LongLongInt(1_000)),
    ];
    let incoming = arrived(&message, &brokers);
    assert_eq!(incoming.delivery_count, Some(4));
    let standing = Standing {
        failed: 2,
        lost: 1,
        due: Some(5_000),
        reason: Some("the forge was away"),
    };
    let again = Outgoing::retry(&incoming, &names(), 1, &standing);
    assert_eq!(again.exchange.as_str(), "lockflight.retry.30s");
    assert_eq!(again.routing_key, message.routing_key);
    assert_eq!(again.body, message.body);
    let headers = headers_of(&again.properties);
    for name in ["x-death", "x-delivery-count", PUBLISH] {
        assert!(
            !headers.contains_key(name),
            "{name} is for the broker, or for one publish"
        );
    }
    assert!(headers.contains_key("traceparent"));
    let incoming = arrived(&again, &[]);
    assert_eq!(
        (incoming.failed, incoming.lost, incoming.due),
        (2, 1, Some(5_000))
    );
    assert_eq!(incoming.published, 1_000);
    assert_eq!(incoming.reason.as_deref(), Some("the forge was away"));

    let parked = Outgoing::parked(&incoming, &names(), &standing);
    assert_eq!(
        (parked.exchange.as_str(), parked.routing_key.as_str()),
        ("", "lockflight.parked")
    );
    let incoming = arrived(&parked, &[]);
    assert_eq!(incoming.routing_key, message.routing_key);
    assert_eq!(
        (incoming.work, incoming.repo),
        (Some(Work::Steps), RepoId::new(3))
    );
    assert!(incoming.parked_at().is_some());
    assert_eq!(incoming.parked_id(), arrived(&parked, &[]).parked_id());

    let standing = Standing {
        failed: 0,
        lost: 0,
        due: None,
        reason: None,
    };
    let released = Outgoing::back(&incoming, &names(), &standing);
    assert_eq!(released.exchange.as_str(), "lockflight.work");
    let incoming = arrived(&released, &[]);
    assert_eq!(incoming.routing_key, message.routing_key);
    assert_eq!((incoming.failed, incoming.lost, incoming.due), (0, 0, None));
    assert_eq!((incoming.parked_at(), incoming.reason), (None, None));
}

#[test]
fn a_message_of_somebody_else_is_read_as_far_as_it_goes() {
    let mut delivery = Delivery::mock(1, "".into(), "gate.x".into(), true, b"hello".to_vec());
    let mut headers = FieldTable::default();
    headers.insert(
        REPO.into(),
        AMQPValue::LongString(LongString::from("not a number")),
    );
    headers.insert(FAILED.into(), AMQPValue::LongLongInt(-1));
    delivery.properties = BasicProperties::default()
        .with_headers(headers)
        .with_timestamp(12);
    let incoming = Incoming::read(delivery);
    assert!(matches!(incoming.content, Content::Malformed { .. }));
    assert_eq!((incoming.work, incoming.failed), (Some(Work::Plan), 0));
    assert_eq!(incoming.published, 12_000);
    assert!(incoming.redelivered);
    assert!(!incoming.parked_id().as_str().is_empty());
}

#[test]
fn texts_that_are_too_long_for_the_protocol_are_cut() {
    assert_eq!(short(&"k".repeat(300)).as_str().len(), 255);
    let cut = short(&"\u{e9}".repeat(200));
    assert_eq!(cut.as_str().chars().count(), 127, "no character is cut in two");
    let mut envelope = delivery(1, "d1");
    if let Body::Delivery(delivery) = &mut envelope.body {
        delivery.event = "e".repeat(400);
    }
    let message = Outgoing::event(&envelope, &names(), LIMIT).unwrap();
    assert_eq!(message.routing_key.as_str().len(), 255);
    assert!(message.routing_key.as_str().starts_with("delivery.eee"));
}
