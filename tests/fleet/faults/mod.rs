//! What the queue on RabbitMQ promises while something fails.

mod broker;
mod flood;
mod handover;
mod missing;
mod network;
mod poison;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockflight_fleet::amqp::AmqpFleet;
use lockflight_fleet::contract::sample::step;
use lockflight_fleet::{Delivery as _, Journal as _, Offset, Queue as _, ReceiveError, Recorded, Work};
use lockflight_tests::servers::PATIENCE;
use tokio::task::JoinHandle;

/// So many repositories the load is about.
const REPOSITORIES: u64 = 12;

/// What was published and what arrived, by the messages' ids. Clones are one ledger.
#[derive(Clone, Debug, Default)]
struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    tried: BTreeSet<String>,
    confirmed: BTreeSet<String>,
    refused: usize,
    arrived: BTreeMap<String, u32>,
}

impl Ledger {
    fn write<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes steps of these ids, and notes what was said to it.
    async fn publish(&self, fleet: &AmqpFleet, repo: u64, ids: Vec<String>) -> bool {
        let messages: Vec<_> = ids.iter().map(|id| step(repo, id)).collect();
        self.write(|entries| entries.tried.extend(ids.iter().cloned()));
        let published = fleet.publish(&messages).await.is_ok();
        self.write(|entries| {
            if published {
                entries.confirmed.extend(ids);
            } else {
                entries.refused += 1;
            }
        });
        published
    }

    fn missing(&self) -> Vec<String> {
        self.write(|entries| {
            let missing = entries
                .confirmed
                .iter()
                .filter(|id| !entries.arrived.contains_key(*id));
            missing.cloned().collect()
        })
    }

    /// Waits until all that was confirmed has arrived and the queue is empty. What arrived was published by somebody.
    async fn settle(&self, fleet: &AmqpFleet) {
        until(
            "all that was confirmed has arrived",
            || self.report(),
            async || self.missing().is_empty(),
        )
        .await;
        until(
            "the queue is empty",
            || self.report(),
            async || matches!(fleet.depth(Work::Steps).await, Ok(depth) if depth.is_idle()),
        )
        .await;
        self.write(|entries| {
            let strangers: Vec<_> = entries
                .arrived
                .keys()
                .filter(|id| !entries.tried.contains(*id))
                .collect();
            assert!(strangers.is_empty(), "nobody published these: {strangers:?}");
        });
    }

    /// Fails unless the journal has all that was confirmed.
    async fn assert_journaled(&self, fleet: &AmqpFleet) {
        let journaled = journaled(fleet).await;
        self.write(|entries| {
            let missing: Vec<_> = entries.confirmed.difference(&journaled).collect();
            assert!(missing.is_empty(), "the journal does not have {missing:?}");
        });
    }

    fn report(&self) -> String {
        let missing = self.missing();
        let some: Vec<_> = missing.iter().take(10).collect();
        self.write(|entries| {
            format!(
                "{} tried, {} confirmed, {} calls refused, {} arrived, {} twice or more; {} missing: {some:?}",
                entries.tried.len(),
                entries.confirmed.len(),
                entries.refused,
                entries.arrived.len(),
                entries.arrived.values().filter(|times| **times > 1).count(),
                missing.len(),
            )
        })
    }
}

async fn journaled(fleet: &AmqpFleet) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut after = Offset::START;
    loop {
        let page = fleet.read(after, 1_000).await.unwrap();
        let Some(last) = page.last() else { return ids };
        after = last.offset;
        ids.extend(
            page.iter()
                .filter_map(Recorded::envelope)
                .map(|envelope| envelope.id.to_string()),
        );
    }
}

/// A worker that takes steps and is done with them at once, until its queue is closed.
fn worker(fleet: &AmqpFleet, ledger: &Ledger) -> JoinHandle<()> {
    let (fleet, ledger) = (fleet.clone(), ledger.clone());
    tokio::spawn(async move {
        loop {
            let batch = match fleet.receive(Work::Steps, 8).await {
                Ok(Some(batch)) => batch,
                Ok(None) | Err(ReceiveError::Closed) => return,
                Err(ReceiveError::Backend(_)) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            for delivery in batch {
                let id = delivery.envelope().id.to_string();
                // Whether it is ours to settle or comes again: it has arrived.
                in_time("an answer to the last word", delivery.ack(Vec::new()))
                    .await
                    .ok();
                ledger.write(|entries| *entries.arrived.entry(id).or_default() += 1);
            }
        }
    })
}

/// A publisher that publishes a few steps of a repository at a time until it is aborted, as fast as about 400 a second.
fn publisher(fleet: &AmqpFleet, ledger: &Ledger, name: u64, mut random: fastrand::Rng) -> JoinHandle<()> {
    let (fleet, ledger) = (fleet.clone(), ledger.clone());
    tokio::spawn(async move {
        for batch in 0_u32.. {
            let repo = random.u64(1..=REPOSITORIES);
            let ids = (0..random.u32(1..20)).map(|n| format!("p{name}-{batch}-{n}"));
            ledger.publish(&fleet, repo, ids.collect()).await;
            tokio::time::sleep(Duration::from_millis(random.u64(10..40))).await;
        }
    })
}

async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, wait).await;
    done.unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

/// Waits until something holds, or fails with a report.
async fn until(what: &str, report: impl Fn() -> String, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, wait).await;
    done.unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}; {}", report()));
}

/// Waits until a fleet can be worked with.
async fn until_ready(fleet: &AmqpFleet) {
    let last = Mutex::new(String::new());
    let report = || last.lock().unwrap_or_else(PoisonError::into_inner).clone();
    until("the fleet is ready", report, async || match fleet.ready().await {
        Ok(()) => true,
        Err(error) => {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
            false
        }
    })
    .await;
}
