//! Partitions go from one process to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockflight_fleet::amqp::{AmqpFleet, AmqpOptions, Partitions};
use lockflight_fleet::contract::sample::step;
use lockflight_fleet::{Delivery as _, Queue as _, Settled, Work};
use lockflight_tests::servers::{RabbitMq, TcpProxy};
use tokio::task::JoinHandle;

use super::{in_time, until};
use crate::amqp::{PARTITIONS, at, declared, options, publishing, taking};

const REPOSITORIES: u64 = 20;
const STEPS: u32 = 40;

/// Who has which repository in hand, and what was seen of each. Clones are one.
#[derive(Clone, Debug, Default)]
struct Hands(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    holders: BTreeMap<u64, &'static str>,
    /// The steps of each repository, in the order in which they were seen.
    steps: BTreeMap<u64, Vec<u32>>,
}

impl Hands {
    fn write<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, who: &'static str, repo: u64) {
        if let Some(other) = self.write(|seen| seen.holders.insert(repo, who)) {
            panic!("{who} was given repository {repo} while {other} had it in hand");
        }
    }

    fn put_down(&self, repo: u64, seen: impl IntoIterator<Item = u32>) {
        self.write(|all| {
            all.holders.remove(&repo);
            all.steps.entry(repo).or_default().extend(seen);
        });
    }

    fn seen(&self) -> BTreeMap<u64, Vec<u32>> {
        self.write(|seen| seen.steps.clone())
    }

    fn distinct(&self) -> usize {
        let seen = self.seen().into_values();
        seen.map(|seen| seen.into_iter().collect::<BTreeSet<_>>().len())
            .sum()
    }
}

fn all_steps() -> usize {
    usize::try_from(REPOSITORIES * u64::from(STEPS)).unwrap()
}

/// A worker that has each batch in hand for a moment.
fn worker(who: &'static str, fleet: &AmqpFleet, hands: &Hands) -> JoinHandle<()> {
    let (fleet, hands) = (fleet.clone(), hands.clone());
    tokio::spawn(async move {
        while let Ok(Some(batch)) = fleet.receive(Work::Steps, 4).await {
            let repo = batch.first().unwrap().envelope().repo.id.get();
            hands.take(who, repo);
            tokio::time::sleep(Duration::from_millis(3)).await;
            let numbers: Vec<u32> = batch
                .iter()
                .map(|delivery| {
                    delivery
                        .envelope()
                        .id
                        .as_str()
                        .rsplit_once('-')
                        .unwrap()
                        .1
                        .parse()
                        .unwrap()
                })
                .collect();
            // Before the last word, after which others may have the repository.
            hands.put_down(repo, numbers);
            for delivery in batch {
                delivery.ack(Vec::new()).await.ok();
            }
        }
    })
}

async fn publish_all(options: &AmqpOptions) -> JoinHandle<()> {
    let ingress = publishing(options);
    tokio::spawn(async move {
        for n in 0..STEPS {
            let steps: Vec<_> = (0..REPOSITORIES)
                .map(|repo| step(repo, &format!("r{repo}-{n}")))
                .collect();
            ingress.publish(&steps).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ingress.stop().await;
    })
}

fn some(partitions: impl IntoIterator<Item = u16>) -> Partitions {
    Partitions::Some(partitions.into_iter().collect())
}

#[tokio::test]
async fn partitions_that_change_hands_lose_nothing_and_are_in_one_hand_at_a_time() {
    let options = options(&RabbitMq::shared().await.uri());
    declared(&options).await;
    let (one, ones) = taking(&options, true, some([0]));
    let (two, twos) = taking(&options, true, some(1..PARTITIONS));
    let hands = Hands::default();
    let workers = [
        worker("one", &one, &hands),
        worker("one's other", &one, &hands),
        worker("two", &two, &hands),
        worker("two's other", &two, &hands),
    ];
    let publishing = publish_all(&options).await;
    let changes = [
        (Partitions::All, some([])),
        (some([]), Partitions::All),
        (some(1..PARTITIONS), some([0])),
        (some([0]), some(1..PARTITIONS)),
        (some([]), Partitions::All),
    ];
    for (mine, yours) in changes {
        let before = hands.distinct();
        until(
            "work goes on",
            || format!("{before} steps"),
            async || hands.distinct() > before,
        )
        .await;
        ones.send_replace(mine);
        twos.send_replace(yours);
    }
    in_time("all is published", publishing).await.unwrap();
    until(
        "all is done",
        || format!("{} of {}", hands.distinct(), all_steps()),
        async || hands.distinct() == all_steps(),
    )
    .await;
    one.stop().await;
    two.stop().await;
    for worker in workers {
        in_time("a worker ends", worker).await.unwrap();
    }
    for (repo, seen) in hands.seen() {
        assert_eq!(
            seen,
            (0..STEPS).collect::<Vec<_>>(),
            "repository {repo}: each once, in order"
        );
    }
}

#[tokio::test]
async fn a_partition_that_two_believe_to_own_is_in_one_hand_and_outlives_either() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let proxy = TcpProxy::start(broker.port()).await;
    let (one, _ones) = taking(
        &at(&options, &RabbitMq::uri_at(proxy.port())),
        false,
        Partitions::All,
    );
    let (two, _twos) = taking(&options, false, Partitions::All);
    let hands = Hands::default();
    let ones_worker = worker("one", &one, &hands);
    let twos_worker = worker("two", &two, &hands);
    let publishing = publish_all(&options).await;
    until("work goes on", String::new, async || hands.distinct() > 100).await;
    // One is cut off for good. What it had in hand it may still believe to have, so it is not asked any more.
    ones_worker.abort();
    ones_worker.await.ok();
    proxy.refuse();
    proxy.reset();
    hands.write(|seen| seen.holders.retain(|_, who| *who != "one"));
    in_time("all is published", publishing).await.unwrap();
    until(
        "all is done",
        || format!("{} of {}", hands.distinct(), all_steps()),
        async || hands.distinct() == all_steps(),
    )
    .await;
    two.stop().await;
    in_time("the worker ends", twos_worker).await.unwrap();
}

#[tokio::test]
async fn a_process_that_stops_gives_back_what_it_holds_in_order() {
    let options = options(&RabbitMq::shared().await.uri());
    declared(&options).await;
    let (one, _ones) = taking(&options, true, Partitions::All);
    let steps: Vec<_> = (0..10).map(|n| step(1, &format!("s{n}"))).collect();
    one.publish(&steps).await.unwrap();
    let first = in_time("a step", one.receive(Work::Steps, 1))
        .await
        .unwrap()
        .unwrap();
    one.close();
    for delivery in first {
        assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
    }
    in_time("it stops", one.stop()).await;
    let (two, _twos) = taking(&options, true, Partitions::All);
    let mut seen = Vec::new();
    while seen.len() < 9 {
        for delivery in in_time("a step", two.receive(Work::Steps, 3))
            .await
            .unwrap()
            .unwrap()
        {
            // The broker counts what it gave out, also what nobody has looked at.
            assert!(delivery.attempt() <= 1, "{}", delivery.envelope().id);
            seen.push(delivery.envelope().id.to_string());
            assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
        }
    }
    assert_eq!(seen, (1..10).map(|n| format!("s{n}")).collect::<Vec<_>>());
    two.stop().await;
}

#[tokio::test]
async fn what_is_on_its_way_elsewhere_when_its_partition_goes_is_there_once() {
    let broker = RabbitMq::shared().await;
    let options = options(&broker.uri());
    declared(&options).await;
    let proxy = TcpProxy::start(broker.port()).await;
    let (one, ones) = taking(
        &at(&options, &RabbitMq::uri_at(proxy.port())),
        false,
        Partitions::All,
    );
    let (two, twos) = taking(&options, false, some([]));
    let steps: Vec<_> = (0..30).map(|repo| step(repo, &format!("s{repo}"))).collect();
    two.publish(&steps).await.unwrap();
    let mut held = Vec::new();
    while held.len() < steps.len() {
        held.extend(
            in_time("a step", one.receive(Work::Steps, 1))
                .await
                .unwrap()
                .unwrap(),
        );
    }
    // All of them go back to the queue by themselves, which takes a while.
    proxy.set_latency(Duration::from_millis(150));
    drop(held);
    ones.send_replace(some([]));
    twos.send_replace(Partitions::All);
    let mut seen = Vec::new();
    while seen.len() < steps.len() {
        for delivery in in_time("a step", two.receive(Work::Steps, 1))
            .await
            .unwrap()
            .unwrap()
        {
            seen.push(delivery.envelope().id.to_string());
            assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
        }
    }
    let more = tokio::time::timeout(Duration::from_secs(2), two.receive(Work::Steps, 1)).await;
    assert!(more.is_err(), "there is more: {more:?}");
    let once: BTreeSet<_> = seen.iter().collect();
    assert_eq!(once.len(), steps.len(), "some came twice: {seen:?}");
    one.stop().await;
    two.stop().await;
}
