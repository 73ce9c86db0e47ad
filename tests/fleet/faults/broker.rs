//! The broker dies, is paused, or takes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lockflight_fleet::amqp::AmqpOptions;
use lockflight_fleet::contract::sample::step;
use lockflight_fleet::{Delivery as _, Queue as _, Settled, Work};
use lockflight_tests::servers::{RabbitMq, SETTLING, seed};

use super::{Ledger, in_time, journaled, publisher, until, until_ready, worker};
use crate::amqp::{declared, options, publishing, taking_all};

/// The broker is killed so often.
const KILLS: u32 = 5;

#[tokio::test]
async fn what_was_confirmed_is_there_after_the_broker_was_killed_under_load() {
    let mut random = fastrand::Rng::with_seed(seed());
    let broker = RabbitMq::start().await;
    let options = options(&broker.uri());
    declared(&options).await;
    tokio::time::sleep(SETTLING).await;
    let (ingress, executor) = (publishing(&options), taking_all(&options));
    let ledger = Ledger::default();
    let working = worker(&executor, &ledger);
    let publishers: Vec<_> = (0..4)
        .map(|name| publisher(&ingress, &ledger, name, random.fork()))
        .collect();
    for _ in 0..KILLS {
        let before = ledger.write(|entries| entries.confirmed.len());
        until(
            "something is confirmed",
            || ledger.report(),
            async || ledger.write(|entries| entries.confirmed.len()) > before,
        )
        .await;
        tokio::time::sleep(Duration::from_millis(random.u64(100..1_000))).await;
        broker.kill().await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..500))).await;
        broker.restart().await;
    }
    let before = ledger.write(|entries| entries.confirmed.len());
    until(
        "publishing works again",
        || ledger.report(),
        async || ledger.write(|entries| entries.confirmed.len()) > before,
    )
    .await;
    for publisher in publishers {
        publisher.abort();
        publisher.await.ok();
    }
    ledger.settle(&executor).await;
    ledger.assert_journaled(&executor).await;
    executor.stop().await;
    in_time("the worker ends", working).await.unwrap();
    ingress.stop().await;
}

#[tokio::test]
async fn what_is_published_to_a_broker_that_has_just_started_is_in_the_journal() {
    let broker = RabbitMq::start().await;
    let options = options(&broker.uri());
    declared(&options).await;
    tokio::time::sleep(SETTLING).await;
    let ledger = Ledger::default();
    for round in 0..4 {
        broker.kill().await;
        broker.restart().await;
        // A process that is connected before the broker has found its streams again.
        let ingress = publishing(&options);
        let ids = (0..6).map(|n| format!("r{round}-{n}")).collect();
        assert!(ledger.publish(&ingress, 1, ids).await, "{}", ledger.report());
        ingress.stop().await;
    }
    let executor = taking_all(&options);
    ledger.assert_journaled(&executor).await;
    let working = worker(&executor, &ledger);
    ledger.settle(&executor).await;
    executor.stop().await;
    in_time("the worker ends", working).await.unwrap();
}

#[tokio::test]
async fn fifty_unsettled_messages_come_again_after_the_broker_was_restarted() {
    for (how, orderly) in [("killed", false), ("stopped", true)] {
        let broker = RabbitMq::start().await;
        let options = AmqpOptions {
            visibility: Duration::from_mins(1),
            ..options(&broker.uri())
        };
        declared(&options).await;
        tokio::time::sleep(SETTLING).await;
        let fleet = taking_all(&options);
        let steps: Vec<_> = (0..50).map(|repo| step(repo, &format!("s{repo}"))).collect();
        fleet.publish(&steps).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..50 {
            let batch = in_time("a step", fleet.receive(Work::Steps, 1)).await;
            held.extend(batch.unwrap().unwrap());
        }
        if orderly {
            broker.stop().await;
        } else {
            broker.kill().await;
        }
        broker.restart().await;
        // A word that comes too late is no error of the worker, and settles nothing.
        for late in held {
            let settled = in_time("an answer", late.ack(Vec::new())).await;
            assert!(!matches!(settled, Ok(Settled::Done)), "{how}: {settled:?}");
        }
        let mut again: BTreeMap<String, u32> = BTreeMap::new();
        while again.len() < 50 {
            let batch = in_time("a step", fleet.receive(Work::Steps, 1))
                .await
                .unwrap()
                .unwrap();
            for delivery in batch {
                let before = again.insert(delivery.envelope().id.to_string(), delivery.attempt());
                assert_eq!(before, None, "{how}: settled, and came again");
                assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
            }
        }
        assert!(again.values().all(|attempt| *attempt == 1), "{how}: {again:?}");
        until(
            "the queue is empty",
            String::new,
            async || matches!(fleet.depth(Work::Steps).await, Ok(depth) if depth.is_idle()),
        )
        .await;
        assert_eq!(journaled(&fleet).await.len(), 50);
        fleet.stop().await;
    }
}

#[tokio::test]
async fn a_broker_that_takes_nothing_piles_nothing_up_and_goes_on_delivering() {
    let broker = RabbitMq::start().await;
    let deadline = Duration::from_secs(2);
    let options = AmqpOptions {
        publish_deadline: deadline,
        confirm_timeout: Duration::from_secs(1),
        outbox: 50,
        ..options(&broker.uri())
    };
    declared(&options).await;
    let (ingress, executor) = (publishing(&options), taking_all(&options));
    until_ready(&ingress).await;
    until_ready(&executor).await;
    let ledger = Ledger::default();
    let early = (0..20).map(|n| format!("early{n}")).collect();
    assert!(ledger.publish(&ingress, 1, early).await);
    broker.memory_alarm(true).await;

    let flood: Vec<_> = (0..200)
        .map(|n| {
            let (ingress, ledger) = (ingress.clone(), ledger.clone());
            tokio::spawn(async move {
                let begin = Instant::now();
                let published = ledger.publish(&ingress, n % 7, vec![format!("flood{n}")]).await;
                (published, begin.elapsed())
            })
        })
        .collect();
    // What was there before is worked on meanwhile.
    let working = worker(&executor, &ledger);
    until(
        "what was there is delivered",
        || ledger.report(),
        async || ledger.missing().is_empty(),
    )
    .await;
    let mut at_once = 0;
    for call in flood {
        let (published, took) = in_time("an answer", call).await.unwrap();
        assert!(!published, "confirmed while the broker takes nothing");
        assert!(
            took < deadline + Duration::from_secs(2),
            "told only after {took:?}"
        );
        at_once += usize::from(took < deadline / 2);
    }
    assert!(
        at_once >= 150,
        "only {at_once} were refused at once, though 50 fit"
    );
    assert!(
        ingress.ready().await.is_err(),
        "a process that can't publish is not ready"
    );

    broker.memory_alarm(false).await;
    until_ready(&ingress).await;
    let late = (0..20).map(|n| format!("late{n}")).collect();
    assert!(ledger.publish(&ingress, 2, late).await);
    // Of the flood some may have been taken after all: each was told that it is not known to be.
    ledger.settle(&executor).await;
    executor.stop().await;
    in_time("the worker ends", working).await.unwrap();
    ingress.stop().await;
}

#[tokio::test]
async fn a_broker_that_hangs_for_a_while_loses_nothing() {
    let broker = RabbitMq::start().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let fleet = taking_all(&options);
    let ledger = Ledger::default();
    let working = worker(&fleet, &ledger);
    let ids = |name: &str| (0..30).map(|n| format!("{name}{n}")).collect();
    assert!(ledger.publish(&fleet, 1, ids("before")).await);
    broker.pause();
    let during = {
        let (fleet, ledger, ids) = (fleet.clone(), ledger.clone(), ids("during"));
        tokio::spawn(async move { ledger.publish(&fleet, 2, ids).await })
    };
    // Longer than a confirm may take, shorter than a publisher is kept waiting.
    tokio::time::sleep(options.confirm_timeout + Duration::from_secs(1)).await;
    broker.resume();
    assert!(
        in_time("the publisher is told", during).await.unwrap(),
        "it was in time"
    );
    assert!(ledger.publish(&fleet, 3, ids("after")).await);
    ledger.settle(&fleet).await;
    fleet.stop().await;
    in_time("the worker ends", working).await.unwrap();
}
