//! What waits for a person: looked at, and released.
//!
//! A queue can't be looked into without taking its messages. So whoever lists or releases takes all of them, unacknowledged, and closes
//! the channel: they return, in their place. Only one may do that at a time, or each would see a part: whoever looks is the only consumer
//! there may be (exclusive) of a queue that is there for nothing else, until all has come back. Should it die before that, the next one may see
//! a part.
//!
//! A release publishes the message to its queue, waits for the confirm, and then acknowledges the parked one; many at once cost one look. A crash in between leaves it
//! parked and released: it doubles, and never loses.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer, ErrorKind};

use super::acknowledge::acknowledge;
use super::message::{Incoming, Outgoing, Standing};
use super::{Inner, topology};
use crate::{BackendError, InspectError, Parked, ParkedId, Work};

/// No answer is longer than this.
const LONGEST_LIST: u16 = 1_000;

/// Among how many a message to release is looked for.
const LONGEST_SEARCH: u16 = 20_000;

/// How many are published together.
const TOGETHER: usize = 100;

/// How long looking may take; others may be looking.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait for a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// How often whoever wants to look asks whether nobody else does any more.
const TAKEN: Duration = Duration::from_millis(30);

/// How long what was taken may take to come back.
const RETURNING: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const RETURNED: Duration = Duration::from_millis(5);

/// How long the next message may take to arrive, of those that are there.
const ARRIVING: Duration = Duration::from_secs(3);

/// What is parked, the oldest first.
pub(super) async fn list(fleet: &Inner) -> Result<Vec<Parked>, InspectError> {
    let taken = take(fleet, LONGEST_LIST).await?;
    let mut parked: Vec<Parked> = Vec::new();
    for incoming in &taken.messages {
        let id = incoming.parked_id();
        // One that was parked twice, since its first confirm was lost, is released as one.
        if parked.iter().all(|other| other.id != id) {
            parked.push(Parked {
                id,
                work: incoming.work.unwrap_or(Work::Plan),
                reason: incoming.reason.clone().unwrap_or_default(),
                attempts: incoming.failed.saturating_add(incoming.lost),
                parked_at: incoming.parked_at().unwrap_or(incoming.published),
                content: incoming.content.clone(),
            });
        }
    }
    taken.give_back(fleet, 0).await;
    parked.sort_by_key(|parked| parked.parked_at);
    Ok(parked)
}

/// Puts parked messages back on their queues, with no attempts counted; `false` for each name that there is none of. All of them are taken once
/// for it.
pub(super) async fn release(fleet: &Inner, ids: &[ParkedId]) -> Result<Vec<bool>, InspectError> {
    let taken = take(fleet, LONGEST_SEARCH).await?;
    let mut found: HashMap<ParkedId, Vec<&Incoming>> = HashMap::new();
    for incoming in &taken.messages {
        found.entry(incoming.parked_id()).or_default().push(incoming);
    }
    let mut acknowledged = 0;
    let mut released: HashSet<&ParkedId> = HashSet::new();
    let mut failed = None;
    let mut once = HashSet::new();
    let there: Vec<&ParkedId> = ids
        .iter()
        .filter(|id| found.contains_key(*id) && once.insert(*id))
        .collect();
    for some in there.chunks(TOGETHER) {
        let same = |id: &ParkedId| found.get(id).map_or(&[][..], Vec::as_slice);
        let first = some.iter().filter_map(|id| same(id).first());
        let publish = first
            .map(|first| Outgoing::back(first, &fleet.names, &AFRESH))
            .collect();
        if let Err(error) = fleet.publisher.publish(publish).await {
            failed = Some(error);
            break;
        }
        for id in some {
            released.insert(id);
            for incoming in same(id) {
                match acknowledge(&incoming.acker).await {
                    Ok(true) => acknowledged += 1,
                    Ok(false) | Err(_) => tracing::warn!(
                        parked = %id,
                        "a parked message was released, but it is still parked, since the connection was lost; releasing it again would double it"
                    ),
                }
            }
        }
    }
    let released = ids.iter().map(|id| released.contains(id)).collect();
    taken.give_back(fleet, acknowledged).await;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(released),
    }
}

/// A message of which nothing is counted.
const AFRESH: Standing<'static> = Standing {
    failed: 0,
    lost: 0,
    due: None,
    reason: None,
};

/// All parked messages, unacknowledged.
struct Taken {
    /// Holds off the others: the consumer, while it lives.
    guard: (Channel, Consumer),
    channel: Channel,
    messages: Vec<Incoming>,
    /// How many there are besides.
    left: u64,
}

async fn take(fleet: &Inner, most: u16) -> Result<Taken, InspectError> {
    let taken = async {
        let connection = fleet.connections.consuming_now(CONNECTING).await?;
        let guard = loop {
            match consume(&connection, &fleet.names.looking(), 1, true).await {
                Ok(guard) => break guard,
                Err(error) if is_taken(&error) => tokio::time::sleep(TAKEN).await,
                Err(error) => return Err(backend(error)),
            }
        };
        // Nobody else takes any now: that many there are, and more at most.
        let queue = fleet.names.parked();
        let there = topology::count(&guard.0, &queue).await.map_err(backend)?;
        let wanted = there.min(most.into());
        let (channel, consumer) = consume(&connection, &queue, most, false).await.map_err(backend)?;
        let messages = collect(consumer, wanted).await?;
        Ok(Taken {
            guard,
            channel,
            left: there.saturating_sub(messages.len() as u64),
            messages,
        })
    };
    match tokio::time::timeout(PATIENCE, taken).await {
        Ok(taken) => taken,
        Err(_) => Err(InspectError::Backend(BackendError::new(format!(
            "what is parked could not be looked at within {PATIENCE:?}; somebody else may be looking"
        )))),
    }
}

async fn consume(
    connection: &Connection,
    queue: &str,
    prefetch: u16,
    exclusive: bool,
) -> Result<(Channel, Consumer), lapin::Error> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions {
        exclusive,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await?;
    Ok((channel, consumer))
}

/// Whether somebody else consumes the queue.
fn is_taken(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(reply) if reply.get_id() == 403 && reply.get_message().as_str().contains("exclusive"))
}

/// Collects so many messages, or those that come: somebody who does not keep to the rules may have taken some.
async fn collect(mut consumer: Consumer, wanted: u64) -> Result<Vec<Incoming>, InspectError> {
    let mut messages = Vec::new();
    while (messages.len() as u64) < wanted {
        match tokio::time::timeout(ARRIVING, consumer.next()).await {
            Ok(Some(delivery)) => messages.push(Incoming::read(delivery.map_err(backend)?)),
            Ok(None) => {
                return Err(InspectError::Backend(BackendError::new(
                    "the consumer of what is parked ended",
                )));
            }
            Err(_) => break,
        }
    }
    // What has come besides need not wait for the next one who looks.
    while let Some(Some(Ok(delivery))) = consumer.next().now_or_never() {
        messages.push(Incoming::read(delivery));
    }
    Ok(messages)
}

impl Taken {
    /// Gives back what is not acknowledged, waits until it is there, and lets others look.
    async fn give_back(self, fleet: &Inner, acknowledged: usize) {
        let Self {
            guard,
            channel,
            messages,
            left,
        } = self;
        let expected = left + messages.len().saturating_sub(acknowledged) as u64;
        let returning = async {
            channel.close(200, "looked".into()).await?;
            // They are on their way now.
            while topology::count(&guard.0, &fleet.names.parked()).await? < expected {
                tokio::time::sleep(RETURNED).await;
            }
            guard.0.close(200, "looked".into()).await
        };
        // Should it take longer, or the connection be gone, they come back all the same.
        drop(tokio::time::timeout(RETURNING, returning).await);
    }
}

fn backend(error: lapin::Error) -> InspectError {
    InspectError::Backend(BackendError::new(error))
}
