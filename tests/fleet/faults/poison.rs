//! Messages come back again and again: because of what they are, or because of the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use lockflight_fleet::amqp::{AmqpFleet, AmqpOptions};
use lockflight_fleet::contract::sample::{delivery, step};
use lockflight_fleet::{Delivery as _, Queue as _, Settled, Work};
use lockflight_tests::servers::{RabbitMq, TcpProxy};

use super::{Ledger, in_time, until, worker};
use crate::amqp::{at, declared, options, taking_all};

/// So many messages wait.
const BACKLOG: u64 = 12;

/// So often a connection is lost while they do: more than RabbitMQ 4 allows by default.
const LOSSES: usize = 25;

#[tokio::test]
async fn a_backlog_outlives_many_lost_connections_and_nothing_of_it_is_parked() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let fleet = taking_all(&options);
    let ledger = Ledger::default();
    for repo in 0..BACKLOG {
        assert!(ledger.publish(&fleet, repo, vec![format!("s{repo}")]).await);
    }
    // A process that has fetched all there is, loses its connection, and again.
    let connection = Connection::connect(&broker.uri(), ConnectionProperties::default())
        .await
        .unwrap();
    let mut counts = BTreeSet::new();
    for _ in 0..LOSSES {
        until("all have come back", String::new, async || {
            let depth = fleet.depth(Work::Steps).await;
            depth.is_ok_and(|depth| depth.ready == BACKLOG)
        })
        .await;
        let channel = connection.create_channel().await.unwrap();
        channel.basic_qos(512, BasicQosOptions::default()).await.unwrap();
        let mut partitions = Vec::new();
        for partition in 0..options.partitions {
            let queue = format!("{}.steps.{partition:02}", options.prefix);
            let consumer = channel.basic_consume(
                queue.as_str().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            partitions.push(consumer.await.unwrap());
        }
        let mut deliveries = futures::stream::select_all(partitions);
        for _ in 0..BACKLOG {
            let delivery = in_time("a step", deliveries.next()).await.unwrap().unwrap();
            counts.insert(delivery.redelivered);
        }
        channel.close(200, "lost".into()).await.unwrap();
    }
    assert_eq!(counts.len(), 2);
    let working = worker(&fleet, &ledger);
    ledger.settle(&fleet).await;
    assert!(fleet.parked().await.unwrap().is_empty());
    ledger.write(|entries| assert!(entries.arrived.values().all(|times| *times == 1)));
    fleet.stop().await;
    in_time("the worker ends", working).await.unwrap();
}

#[tokio::test]
async fn what_ends_its_process_each_time_is_parked_and_its_neighbours_are_not() {
    let broker = RabbitMq::shared().await;
    let options = AmqpOptions {
        max_losses: 3,
        visibility: Duration::from_mins(1),
        ..options(&broker.uri())
    };
    declared(&options).await;
    let looking = taking_all(&options);
    let mut steps: Vec<_> = (1..=BACKLOG)
        .map(|repo| step(repo, &format!("s{repo}")))
        .collect();
    steps.insert(BACKLOG as usize / 2, step(1_000, "poison"));
    looking.publish(&steps).await.unwrap();
    let mut dead: Vec<(AmqpFleet, TcpProxy)> = Vec::new();
    let mut done = BTreeSet::new();
    let mut deaths = 0;
    while looking.depth(Work::Steps).await.unwrap().parked == 0 {
        assert!(deaths < 30, "it is not parked");
        let proxy = TcpProxy::start(broker.port()).await;
        let fleet = taking_all(&at(&options, &RabbitMq::uri_at(proxy.port())));
        // A process with three workers, none of whom is fast.
        let mut held = Vec::new();
        loop {
            let parked = async {
                while looking.depth(Work::Steps).await.unwrap().parked == 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let batch = tokio::select! {
                batch = fleet.receive(Work::Steps, 1) => batch.unwrap().unwrap(),
                () = parked => break,
                () = tokio::time::sleep(Duration::from_millis(200)), if !held.is_empty() => Vec::new(),
            };
            let is_idle = batch.is_empty();
            held.extend(batch);
            if held
                .iter()
                .any(|delivery| delivery.envelope().id.as_str() == "poison")
            {
                deaths += 1;
                break;
            }
            if held.len() > 2 || is_idle {
                let first = held.remove(0);
                let id = first.envelope().id.to_string();
                // Some work is slow enough to be there when the process ends.
                if deaths > 12 {
                    assert_eq!(first.ack(Vec::new()).await.unwrap(), Settled::Done);
                    done.insert(id);
                } else {
                    let deferred = first.defer(Duration::ZERO, Vec::new()).await.unwrap();
                    assert_eq!(deferred, Settled::Done);
                }
            }
        }
        proxy.refuse();
        proxy.reset();
        dead.push((fleet, proxy));
    }
    let parked = looking.parked().await.unwrap();
    let ids: Vec<_> = parked
        .iter()
        .filter_map(|parked| parked.content.envelope())
        .map(|envelope| envelope.id.as_str())
        .collect();
    assert_eq!(ids, ["poison"], "after {deaths} deaths");
    assert!(
        parked[0].reason.contains("its process ended"),
        "{}",
        parked[0].reason
    );
    let ledger = Ledger::default();
    ledger.write(|entries| entries.arrived.extend(done.into_iter().map(|id| (id, 1))));
    let working = worker(&looking, &ledger);
    until(
        "all others are done",
        || ledger.report(),
        async || ledger.write(|entries| entries.arrived.len()) == BACKLOG as usize,
    )
    .await;
    // It may be there twice, as a process may end between a copy and what it stands for; nothing else is.
    let parked = looking.parked().await.unwrap();
    let mut ids = parked.iter().filter_map(|parked| parked.content.envelope());
    assert!(ids.all(|envelope| envelope.id.as_str() == "poison"));
    looking.stop().await;
    in_time("the worker ends", working).await.unwrap();
}

#[tokio::test]
async fn a_plan_that_was_let_go_of_once_is_done_soon_whichever_planner_gets_it() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let fleets = [taking_all(&options), taking_all(&options)];
    let plans: Vec<_> = (1..=BACKLOG)
        .map(|repo| delivery(repo, &format!("d{repo}")))
        .collect();
    fleets[0].publish(&plans).await.unwrap();
    let hands: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let workers: Vec<_> = fleets
        .iter()
        .map(|fleet| {
            let (fleet, hands) = (fleet.clone(), Arc::clone(&hands));
            tokio::spawn(async move {
                while let Ok(Some(batch)) = fleet.receive(Work::Plan, 1).await {
                    for plan in batch {
                        let id = plan.envelope().id.to_string();
                        let times = {
                            let mut hands = hands.lock().unwrap();
                            let times = hands.entry(id).or_default();
                            *times += 1;
                            *times
                        };
                        if times > 1 {
                            assert_eq!(plan.ack(Vec::new()).await.unwrap(), Settled::Done);
                        }
                    }
                }
            })
        })
        .collect();
    let times = || hands.lock().unwrap().clone();
    until(
        "all were let go of once and taken up again",
        || format!("{:?}", times()),
        async || {
            let depth = fleets[0].depth(Work::Plan).await;
            let all_twice = times().len() == BACKLOG as usize && times().values().all(|times| *times > 1);
            all_twice && depth.is_ok_and(|depth| depth.is_idle())
        },
    )
    .await;
    assert!(times().values().all(|times| *times <= 3), "{:?}", times());
    assert!(fleets[0].parked().await.unwrap().is_empty());
    for fleet in &fleets {
        fleet.stop().await;
    }
    for worker in workers {
        in_time("the worker ends", worker).await.unwrap();
    }
}
