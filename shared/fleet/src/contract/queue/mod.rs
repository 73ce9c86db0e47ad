//! The queue's contract.

mod order;
mod passing;
mod publishing;
mod receiving;
mod settling;
mod unreadable;

use std::time::Duration;

use lockflight_promotion::message::{Body, Envelope, Outcome};

use super::{PATIENCE, QUIET, QueueWorld, in_time};
use crate::{Delivery, Depth, Journal as _, Offset, Queue, Recorded, Settled, Work};

pub use order::*;
pub use passing::*;
pub use publishing::*;
pub use receiving::*;
pub use settling::*;
pub use unreadable::*;

type DeliveryOf<W> = <<W as QueueWorld>::Queue as Queue>::Delivery;

async fn receive<W: QueueWorld>(world: &W, work: Work) -> DeliveryOf<W> {
    let mut batch = receive_batch(world, work, 1).await;
    assert_eq!(batch.len(), 1);
    batch.remove(0)
}

async fn receive_batch<W: QueueWorld>(world: &W, work: Work, most: usize) -> Vec<DeliveryOf<W>> {
    in_time("a message to receive", world.queue().receive(work, most))
        .await
        .unwrap()
        .expect("the queue is open")
}

async fn receives_nothing<W: QueueWorld>(world: &W, work: Work) {
    let queue = world.queue();
    if let Ok(Ok(Some(batch))) = tokio::time::timeout(QUIET, queue.receive(work, 10)).await {
        let ids: Vec<_> = batch.iter().map(id).collect();
        panic!("received {ids:?} from {work}, where nothing should come");
    }
}

async fn publish<W: QueueWorld>(world: &W, messages: &[Envelope]) {
    world.queue().publish(messages).await.unwrap();
}

async fn ack(delivery: impl Delivery) {
    assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
}

fn id(delivery: &impl Delivery) -> String {
    delivery.envelope().id.as_str().to_owned()
}

/// Waits until the queue says that it is so full: what it counts may lag behind what it does.
async fn until_depth<W: QueueWorld>(world: &W, work: Work, holds: impl Fn(&Depth) -> bool) -> Depth {
    let queue = world.queue();
    let mut seen = None;
    let search = async {
        loop {
            let depth = queue.depth(work).await.unwrap();
            if holds(&depth) {
                return depth;
            }
            seen = Some(depth);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, search).await;
    found.unwrap_or_else(|_| panic!("{work} is not as full as it should be: {seen:?}"))
}

async fn until_idle<W: QueueWorld>(world: &W, work: Work) {
    until_depth(world, work, Depth::is_idle).await;
}

/// The whole journal.
async fn journal<W: QueueWorld>(world: &W) -> Vec<Recorded> {
    let mut records: Vec<Recorded> = Vec::new();
    loop {
        let after = records.last().map_or(Offset::START, |last| last.offset);
        let more = world.queue().read(after, 1_000).await.unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

async fn journaled<W: QueueWorld>(world: &W) -> Vec<String> {
    let ids = journal(world).await.into_iter();
    ids.filter_map(|record| Some(record.envelope()?.id.as_str().to_owned()))
        .collect()
}

async fn outcomes<W: QueueWorld>(world: &W) -> Vec<Outcome> {
    let records = journal(world).await.into_iter();
    records
        .filter_map(|record| match &record.envelope()?.body {
            Body::Outcome(outcome) => Some(outcome.clone()),
            _ => None,
        })
        .collect()
}
