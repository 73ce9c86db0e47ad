//! What is on the broker was changed by somebody, or the broker gives up on a message.

use std::time::Duration;

use futures::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicNackOptions, BasicQosOptions, ExchangeBindOptions, ExchangeUnbindOptions,
    QueueBindOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use lockflight_fleet::amqp::{AmqpFleet, AmqpOptions, Consume, partition_of};
use lockflight_fleet::contract::sample::step;
use lockflight_fleet::{Delivery as _, Journal as _, Offset, Queue as _, Recorded, Settled, Work};
use lockflight_promotion::RepoId;
use lockflight_promotion::message::{Body, Outcome};
use lockflight_tests::servers::RabbitMq;

use super::{in_time, until, until_ready};
use crate::amqp::{declared, options, publishing, taking_all};

/// After so many hand-outs beyond the first the broker gives up.
const DELIVERY_LIMIT: u32 = 1_000;

/// Somebody on the broker who is not Lockflight.
async fn somebody(broker: &RabbitMq) -> (Connection, Channel) {
    let connection = Connection::connect(&broker.uri(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

fn queue_of(options: &AmqpOptions, repo: u64) -> String {
    let partition = partition_of(RepoId::new(repo), options.partitions);
    format!("{}.steps.{partition:02}", options.prefix)
}

async fn until_refused(fleet: &AmqpFleet) {
    until("the fleet is not ready", String::new, async || {
        fleet.ready().await.is_err()
    })
    .await;
}

#[tokio::test]
async fn nothing_is_confirmed_that_goes_nowhere() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let fleet = taking_all(&options);
    until_ready(&fleet).await;
    let (_connection, channel) = somebody(broker).await;
    let (events, work) = (
        format!("{}.events", options.prefix),
        format!("{}.work", options.prefix),
    );

    // The way from the events to the work. The journal still takes what is published, so that this is no return: the publisher finds it out
    // by what only the work would refuse.
    let (source, target) = (events.as_str().into(), work.as_str().into());
    channel
        .exchange_unbind(
            target,
            source,
            "#".into(),
            ExchangeUnbindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let error = in_time("an answer", fleet.publish(&[step(1, "nowhere")]))
        .await
        .unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        said.contains(&events) && said.contains("lockflight topology"),
        "{said}"
    );
    until_refused(&fleet).await;
    let (source, target) = (events.as_str().into(), work.as_str().into());
    channel
        .exchange_bind(
            target,
            source,
            "#".into(),
            ExchangeBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    until_ready(&fleet).await;
    in_time("an answer", fleet.publish(&[step(1, "s1")]))
        .await
        .unwrap();

    // The queue of one partition, of two.
    let other = (2..)
        .find(|repo| queue_of(&options, *repo) != queue_of(&options, 1))
        .unwrap();
    let (queue, partition) = (
        queue_of(&options, 1),
        partition_of(RepoId::new(1), options.partitions),
    );
    let key = format!("step.*.p{partition:02}");
    channel
        .queue_unbind(
            queue.as_str().into(),
            work.as_str().into(),
            key.as_str().into(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    assert!(
        in_time("an answer", fleet.publish(&[step(1, "nowhere")]))
            .await
            .is_err()
    );
    assert!(
        in_time(
            "an answer",
            fleet.publish(&[step(other, "o1"), step(1, "nowhere")])
        )
        .await
        .is_err()
    );
    in_time("an answer", fleet.publish(&[step(other, "o2")]))
        .await
        .unwrap();
    channel
        .queue_bind(
            queue.as_str().into(),
            work.as_str().into(),
            key.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    in_time("an answer", fleet.publish(&[step(1, "s2")]))
        .await
        .unwrap();

    // What was refused is nowhere, what was confirmed is there.
    let mut seen = Vec::new();
    while !["s1", "s2", "o2"]
        .iter()
        .all(|id| seen.iter().any(|seen| seen == id))
    {
        for delivery in in_time("a step", fleet.receive(Work::Steps, 8))
            .await
            .unwrap()
            .unwrap()
        {
            seen.push(delivery.envelope().id.to_string());
            assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
        }
    }
    assert!(!seen.iter().any(|id| id == "nowhere"), "{seen:?}");
    fleet.stop().await;
}

/// Takes a queue's only message again and again, as a process does that dies of it each time, until the broker gives up.
async fn die_of_it(channel: &Channel, queue: &str) {
    channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    let mut deliveries = channel
        .basic_consume(
            queue.into(),
            "victim".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    for _ in 0..=DELIVERY_LIMIT {
        let delivery = in_time("the poison", deliveries.next()).await.unwrap().unwrap();
        let again = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        delivery.acker.nack(again).await.unwrap();
    }
    channel
        .basic_cancel("victim".into(), lapin::options::BasicCancelOptions::default())
        .await
        .unwrap();
}

/// Fails unless the message has been parked, once, and the journal says so.
async fn assert_parked(fleet: &AmqpFleet, id: &str) {
    until("it is parked", String::new, async || {
        fleet.depth(Work::Steps).await.is_ok_and(|depth| depth.parked > 0)
    })
    .await;
    let parked = fleet.parked().await.unwrap();
    let [parked] = parked.as_slice() else {
        panic!("{parked:?}")
    };
    assert_eq!(parked.work, Work::Steps);
    assert_eq!(
        parked.content.envelope().map(|envelope| envelope.id.as_str()),
        Some(id)
    );
    assert!(!parked.reason.is_empty());
    let records = fleet.read(Offset::START, 1_000).await.unwrap();
    let told = records
        .iter()
        .filter_map(Recorded::envelope)
        .filter(|envelope| matches!(envelope.body, Body::Outcome(Outcome::Parked { .. })));
    assert_eq!(told.count(), 1);
    // A person puts it back.
    assert!(fleet.release(&parked.id).await.unwrap());
}

fn planning(options: &AmqpOptions) -> AmqpFleet {
    let consume = Consume {
        plan: true,
        ..Consume::default()
    };
    AmqpFleet::start(options.clone(), consume)
}

#[tokio::test]
async fn what_the_broker_gives_up_on_is_parked_for_a_person() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let planner = planning(&options);
    let (_connection, channel) = somebody(broker).await;
    planner.publish(&[step(1, "poison")]).await.unwrap();
    die_of_it(&channel, &queue_of(&options, 1)).await;
    let waiting = tokio::spawn({
        let planner = planner.clone();
        async move { planner.receive(Work::Plan, 1).await }
    });
    assert_parked(&planner, "poison").await;
    waiting.abort();
    let executor = taking_all(&options);
    let again = in_time("the step", executor.receive(Work::Steps, 1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.first().map(|delivery| delivery.attempt()), Some(0));
    for delivery in again {
        assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
    }
    planner.stop().await;
    executor.stop().await;
}

#[tokio::test]
async fn a_dead_letter_without_a_target_waits_until_it_has_one() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let ingress = publishing(&options);
    let (_connection, channel) = somebody(broker).await;
    ingress.publish(&[step(1, "poison")]).await.unwrap();
    let dead = format!("{}.dead", options.prefix);
    channel
        .queue_delete(dead.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    die_of_it(&channel, &queue_of(&options, 1)).await;
    until_refused(&ingress).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    declared(&options).await;
    until_ready(&ingress).await;
    let planner = planning(&options);
    let waiting = tokio::spawn({
        let planner = planner.clone();
        async move { planner.receive(Work::Plan, 1).await }
    });
    assert_parked(&planner, "poison").await;
    waiting.abort();
    planner.stop().await;
    ingress.stop().await;
}
