//! What a process needs on the broker is not there.

use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use lockflight_fleet::amqp::{AmqpError, AmqpOptions};
use lockflight_fleet::contract::sample::step;
use lockflight_fleet::{Delivery as _, Queue as _, Settled, Work};
use lockflight_tests::servers::RabbitMq;

use super::{Ledger, in_time, until, until_ready, worker};
use crate::amqp::{declared, options, publishing, taking_all};

#[tokio::test]
async fn a_missing_exchange_fails_what_goes_there_and_nothing_else() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let fleet = taking_all(&options);
    until_ready(&fleet).await;
    let ledger = Ledger::default();
    assert!(
        ledger
            .publish(&fleet, 1, vec!["bad".to_owned(), "good".to_owned()])
            .await
    );
    let mut held = Vec::new();
    while held.len() < 2 {
        held.extend(
            in_time("a step", fleet.receive(Work::Steps, 2))
                .await
                .unwrap()
                .unwrap(),
        );
    }
    let connection = Connection::connect(&broker.uri(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let rung = format!("{}.retry.1s", options.prefix);
    channel
        .exchange_delete(rung.as_str().into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();

    // Others publish all the while, and are told in time.
    let others: Vec<_> = (0..4_u64)
        .map(|name| {
            let (fleet, ledger) = (fleet.clone(), ledger.clone());
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                for n in 0..150 {
                    let begin = Instant::now();
                    let published = ledger
                        .publish(&fleet, 10 + name, vec![format!("o{name}-{n}")])
                        .await;
                    assert!(published, "o{name}-{n} is not to blame");
                    longest = longest.max(begin.elapsed());
                }
                longest
            })
        })
        .collect();
    let begin = Instant::now();
    let bad = held.remove(0);
    let error = in_time("an answer", bad.retry("broken", Vec::new()))
        .await
        .unwrap_err();
    assert!(
        begin.elapsed() < options.publish_deadline / 2,
        "{:?}",
        begin.elapsed()
    );
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        said.push_str(&format!(": {error}"));
        cause = error.source();
    }
    assert!(
        said.contains(&rung) && said.contains("lockflight topology"),
        "{said}"
    );
    for other in others {
        let longest = in_time("they are done", other).await.unwrap();
        assert!(
            longest < Duration::from_secs(3),
            "one of the others took {longest:?}"
        );
    }
    for delivery in held {
        assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
    }

    // What could not be put aside is, once it can be.
    declared(&options).await;
    let working = worker(&fleet, &ledger);
    ledger.write(|entries| entries.arrived.insert("good".to_owned(), 1));
    ledger.settle(&fleet).await;
    let doubled = ledger.write(|entries| entries.arrived.values().filter(|times| **times > 1).count());
    assert!(doubled < 50, "{doubled} came twice: {}", ledger.report());
    fleet.stop().await;
    in_time("the worker ends", working).await.unwrap();
}

#[tokio::test]
async fn nothing_is_taken_before_everything_is_there() {
    let broker = RabbitMq::shared().await;
    let declared_as = options(&broker.uri());
    declared(&declared_as).await;
    let ingress = publishing(&declared_as);
    ingress.publish(&[step(1, "s1")]).await.unwrap();
    // Its configuration has a wait that the topology does not have.
    let configured = AmqpOptions {
        ladder: [50, 200, 1_000, 2_000].map(Duration::from_millis).to_vec(),
        ..declared_as.clone()
    };
    let fleet = taking_all(&configured);
    let receiving = tokio::spawn({
        let fleet = fleet.clone();
        async move { fleet.receive(Work::Steps, 1).await }
    });
    until("it finds out", String::new, async || {
        matches!(fleet.ready().await, Err(AmqpError::Topology { .. }))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!receiving.is_finished(), "it can't put anything aside");
    assert_eq!(ingress.depth(Work::Steps).await.unwrap().ready, 1);
    declared(&configured).await;
    let batch = in_time("the step", receiving).await.unwrap().unwrap().unwrap();
    for delivery in batch {
        assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
    }
    fleet.stop().await;
    ingress.stop().await;
}

/// So long nothing more comes, or is parked, while the journal can't be told.
const QUIET: Duration = Duration::from_secs(4);

/// Takes the way of outcomes to the journal away.
async fn without_outcomes(broker: &RabbitMq, options: &AmqpOptions) -> Channel {
    let connection = Connection::connect(&broker.uri(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let unbound = channel.queue_unbind(
        format!("{}.journal", options.prefix).into(),
        format!("{}.work", options.prefix).into(),
        "outcome.#".into(),
        FieldTable::default(),
    );
    unbound.await.unwrap();
    channel
}

#[tokio::test]
async fn what_failed_does_not_multiply_while_the_journal_can_not_be_told() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let fleet = taking_all(&options);
    until_ready(&fleet).await;
    fleet.publish(&[step(1, "s1")]).await.unwrap();
    let mut batch = in_time("the step", fleet.receive(Work::Steps, 1))
        .await
        .unwrap()
        .unwrap();
    let _channel = without_outcomes(broker, &options).await;
    let failed = in_time("an answer", batch.remove(0).retry("broken", Vec::new())).await;
    assert!(failed.is_err(), "nobody was told");
    let more = tokio::time::timeout(QUIET, fleet.receive(Work::Steps, 1)).await;
    assert!(more.is_err(), "it came again, and is here still: {more:?}");
    declared(&options).await;
    let again = in_time("it comes again", fleet.receive(Work::Steps, 1)).await;
    for delivery in again.unwrap().unwrap() {
        assert_eq!(delivery.failures(), 1);
        assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
    }
    until("there was one of it", String::new, async || {
        let depth = fleet.depth(Work::Steps).await;
        depth.is_ok_and(|depth| depth.is_idle())
    })
    .await;
    fleet.stop().await;
}

#[tokio::test]
async fn what_the_broker_gave_up_on_is_parked_once_when_the_journal_can_be_told() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let channel = without_outcomes(broker, &options).await;
    let fleet = taking_all(&options);
    until_ready(&fleet).await;
    let given_up = serde_json::to_vec(&step(1, "s1")).unwrap();
    let published = channel.basic_publish(
        format!("{}.dlx", options.prefix).into(),
        "step.report.p00".into(),
        BasicPublishOptions::default(),
        &given_up,
        BasicProperties::default(),
    );
    published.await.unwrap();
    tokio::time::sleep(QUIET).await;
    assert_eq!(fleet.depth(Work::Steps).await.unwrap().parked, 0);
    declared(&options).await;
    until("it is parked", String::new, async || {
        let depth = fleet.depth(Work::Steps).await;
        depth.is_ok_and(|depth| depth.parked > 0)
    })
    .await;
    assert_eq!(fleet.depth(Work::Steps).await.unwrap().parked, 1);
    let parked = fleet.parked().await.unwrap();
    assert_eq!(parked.len(), 1);
    assert!(parked[0].reason.contains("gave up"), "{}", parked[0].reason);
    fleet.stop().await;
}

#[tokio::test]
async fn somebody_who_listens_to_everything_stops_nothing() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let connection = Connection::connect(&broker.uri(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare("".into(), exclusive, FieldTable::default())
        .await
        .unwrap();
    for exchange in ["work", "events"] {
        channel
            .queue_bind(
                queue.name().clone(),
                format!("{}.{exchange}", options.prefix).into(),
                "#".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
    }
    let fleet = taking_all(&options);
    until_ready(&fleet).await;
    let ledger = Ledger::default();
    let working = worker(&fleet, &ledger);
    assert!(ledger.publish(&fleet, 1, vec!["heard".to_owned()]).await);
    ledger.settle(&fleet).await;
    fleet.stop().await;
    in_time("the worker ends", working).await.unwrap();
}
