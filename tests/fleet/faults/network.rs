//! The network between a process and the broker.

use std::time::Duration;

use futures::future::join_all;
use lockflight_fleet::{Delivery as _, Queue as _, Settled, Work};
use lockflight_tests::servers::{RabbitMq, TcpProxy, seed};

use super::{Ledger, in_time, publisher, until, until_ready, worker};
use crate::amqp::{at, declared, options, publishing, taking_all};

#[tokio::test]
async fn connections_that_end_in_the_middle_lose_nothing_that_was_confirmed() {
    let mut random = fastrand::Rng::with_seed(seed());
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let (ours, theirs) = (
        TcpProxy::start(broker.port()).await,
        TcpProxy::start(broker.port()).await,
    );
    let ingress = publishing(&at(&options, &RabbitMq::uri_at(ours.port())));
    let executor = taking_all(&at(&options, &RabbitMq::uri_at(theirs.port())));
    let ledger = Ledger::default();
    let working = worker(&executor, &ledger);
    let publishers: Vec<_> = (0..4)
        .map(|name| publisher(&ingress, &ledger, name, random.fork()))
        .collect();
    for _ in 0..10 {
        let before = ledger.write(|entries| entries.confirmed.len());
        until(
            "something is confirmed",
            || ledger.report(),
            async || ledger.write(|entries| entries.confirmed.len()) > before,
        )
        .await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..300))).await;
        let proxy = if random.bool() { &ours } else { &theirs };
        match random.u8(0..4) {
            0 => proxy.reset(),
            1 => proxy.cut(),
            // In the middle of a frame, as likely as not.
            2 => {
                let open = proxy.open();
                proxy.limit(random.u64(1..5_000));
                let closed = async || proxy.open() < open.max(1);
                until("the limit is met", || ledger.report(), closed).await;
                proxy.unlimit();
            }
            _ => {
                proxy.refuse();
                proxy.reset();
                tokio::time::sleep(Duration::from_millis(random.u64(100..800))).await;
                proxy.accept();
            }
        }
    }
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
async fn a_last_word_while_the_connection_ends_is_answered() {
    let mut random = fastrand::Rng::with_seed(seed());
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let proxy = TcpProxy::start(broker.port()).await;
    let fleet = taking_all(&at(&options, &RabbitMq::uri_at(proxy.port())));
    let ledger = Ledger::default();
    for round in 0..10 {
        until_ready(&fleet).await;
        for repo in 0..20 {
            assert!(
                ledger
                    .publish(&fleet, repo, vec![format!("r{round}-{repo}")])
                    .await
            );
        }
        let mut held = Vec::new();
        while held.len() < 20 {
            let batch = in_time("a step", fleet.receive(Work::Steps, 1)).await;
            held.extend(batch.unwrap().unwrap());
        }
        let words = held.into_iter().enumerate().map(|(n, delivery)| {
            let wait = Duration::from_micros(random.u64(0..3_000));
            let proxy = &proxy;
            async move {
                tokio::time::sleep(wait).await;
                if n == 10 {
                    proxy.cut();
                }
                let id = delivery.envelope().id.to_string();
                let settled = tokio::time::timeout(Duration::from_secs(20), delivery.ack(Vec::new())).await;
                (id, settled.unwrap_or_else(|_| panic!("round {round}: no answer")))
            }
        });
        for (id, settled) in join_all(words).await {
            // What was not settled comes again.
            if let Ok(Settled::Done) = settled {
                ledger.write(|entries| *entries.arrived.entry(id).or_default() += 1);
            }
        }
        let working = worker(&fleet, &ledger);
        until(
            "all is done",
            || ledger.report(),
            async || ledger.missing().is_empty(),
        )
        .await;
        working.abort();
        working.await.ok();
    }
    // An acknowledgement may have been lost on its way, and its message comes again.
    let working = worker(&fleet, &ledger);
    ledger.settle(&fleet).await;
    fleet.stop().await;
    in_time("the worker ends", working).await.unwrap();
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_and_replaced() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let proxy = TcpProxy::start(broker.port()).await;
    let fleet = taking_all(&at(&options, &RabbitMq::uri_at(proxy.port())));
    until_ready(&fleet).await;
    let ledger = Ledger::default();
    let working = worker(&fleet, &ledger);
    assert!(ledger.publish(&fleet, 1, vec!["before".to_owned()]).await);
    let connections = proxy.accepted();
    proxy.freeze();
    // Nothing says that the other side is gone: it is only silent.
    let during = {
        let (fleet, ledger) = (fleet.clone(), ledger.clone());
        tokio::spawn(async move { ledger.publish(&fleet, 2, vec!["during".to_owned()]).await })
    };
    until(
        "the connection is given up",
        || ledger.report(),
        async || proxy.accepted() > connections,
    )
    .await;
    proxy.thaw();
    assert!(in_time("the publisher is told", during).await.unwrap());
    assert!(ledger.publish(&fleet, 3, vec!["after".to_owned()]).await);
    ledger.settle(&fleet).await;
    fleet.stop().await;
    in_time("the worker ends", working).await.unwrap();
}

#[tokio::test]
async fn a_publisher_of_a_broker_that_cannot_be_reached_is_told_in_time() {
    let broker = RabbitMq::shared().await;
    let mut options = options(&broker.uri());
    options.publish_deadline = Duration::from_secs(1);
    declared(&options).await;
    let proxy = TcpProxy::start(broker.port()).await;
    proxy.refuse();
    let fleet = publishing(&at(&options, &RabbitMq::uri_at(proxy.port())));
    let ledger = Ledger::default();
    let begin = std::time::Instant::now();
    assert!(
        !in_time(
            "the publisher is told",
            ledger.publish(&fleet, 1, vec!["lost".to_owned()])
        )
        .await
    );
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(fleet.ready().await.is_err());
    proxy.accept();
    until_ready(&fleet).await;
    assert!(ledger.publish(&fleet, 1, vec!["found".to_owned()]).await);
    fleet.stop().await;
}
