//! Publishing with confirms: what was confirmed is durable, and what was not is told to whoever published it.
//!
//! One task (see `outbox`) owns the channel and keeps each message until it is settled; everybody else sends it batches:
//! - confirmed by the broker and not returned: done;
//! - refused (nacked) or returned: its publisher is told at once;
//! - the connection died: it is published again on the next one, in the order of before;
//! - its deadline passed: its publisher is told that it is not known. It may be there, or come to be there later.
//!
//! What is kept is bounded, by number and by bytes: beyond that publishing is refused at once, so that the memory stays flat while the broker
//! is away or takes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::AmqpOptions;
use super::connection::{Health, Link};
use super::message::Outgoing;
use super::names::Names;
use super::outbox::Outbox;
use crate::{BackendError, InspectError, JournalError, PublishError, SettleError};

/// Why messages are not known to be published.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unconfirmed {
    /// Too much waits already.
    #[error("{messages} messages ({bytes} bytes) wait for RabbitMQ's confirm already, as much as may")]
    Full { messages: usize, bytes: usize },
    /// The broker said that it takes nothing for now.
    #[error("RabbitMQ takes no messages for now: {0}")]
    Blocked(Arc<str>),
    /// The broker refused one.
    #[error(
        "RabbitMQ refused a message with the key {key:?}: no work queue takes it, or its queue is full; see `lockflight topology`"
    )]
    Refused { key: String },
    /// The broker had no place for one.
    #[error(
        "RabbitMQ returned a message to the exchange {exchange:?} with the key {key:?} ({why}); see `lockflight topology`"
    )]
    Returned {
        exchange: String,
        key: String,
        why: String,
    },
    /// The broker can't take one at all, and closed the channel over it.
    #[error(
        "RabbitMQ can't take a message to the exchange {exchange:?} with the key {key:?} ({why}); run `lockflight topology`, and look at the \
         user's permissions"
    )]
    Untaken {
        exchange: String,
        key: String,
        why: String,
    },
    /// The broker confirmed what came to the journal, and to no work queue.
    #[error(
        "RabbitMQ would bring no message to its work queue: the exchange {events:?} is not bound to {work:?} ({why}); run `lockflight topology`"
    )]
    Unbound {
        events: String,
        work: String,
        why: String,
    },
    /// Time is up. Unknown, not failed: it may be there.
    #[error("RabbitMQ did not confirm within {after:?}{}", of(trouble.as_deref()))]
    Late {
        after: Duration,
        trouble: Option<Arc<str>>,
    },
    /// The publisher was stopped.
    #[error("the publisher was stopped before RabbitMQ confirmed")]
    Closed,
}

fn of(trouble: Option<&str>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(": {trouble}"))
}

impl From<Unconfirmed> for PublishError {
    fn from(error: Unconfirmed) -> Self {
        match error {
            Unconfirmed::Closed => Self::Closed,
            error => Self::Backend(BackendError::new(error)),
        }
    }
}

impl From<Unconfirmed> for SettleError {
    fn from(error: Unconfirmed) -> Self {
        match error {
            Unconfirmed::Closed => Self::Closed,
            error => Self::Backend(BackendError::new(error)),
        }
    }
}

impl From<Unconfirmed> for JournalError {
    fn from(error: Unconfirmed) -> Self {
        match error {
            Unconfirmed::Closed => Self::Closed,
            error => Self::Backend(BackendError::new(error)),
        }
    }
}

impl From<Unconfirmed> for InspectError {
    fn from(error: Unconfirmed) -> Self {
        match error {
            Unconfirmed::Closed => Self::Closed,
            error => Self::Backend(BackendError::new(error)),
        }
    }
}

/// Messages that were published together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) messages: Vec<Outgoing>,
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Result<(), Unconfirmed>>,
    pub(super) room: Room,
}

/// The publisher. Clones share one outbox.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    inbox: mpsc::UnboundedSender<Batch>,
    room: Arc<Rooms>,
    health: watch::Receiver<Health>,
    /// Whether to wait while the broker takes nothing, for as long as the deadline allows.
    patient: bool,
    stopping: watch::Sender<Option<Instant>>,
    journal_is_late: watch::Receiver<bool>,
}

impl Publisher {
    /// Starts the task. One who is patient waits while the broker takes no messages: a worker, whose work would be for nothing. One
    /// who is not is told at once.
    pub(super) fn start(link: &Link, options: &AmqpOptions, patient: bool) -> Self {
        let (inbox, batches) = mpsc::unbounded_channel();
        let stopping = watch::Sender::new(None);
        let outbox = Outbox::new(
            link.clone(),
            Names::new(options),
            options.confirm_timeout,
            options.publish_deadline,
        );
        let journal_is_late = outbox.journal_is_late();
        tokio::spawn(outbox.run(batches, stopping.subscribe()));
        Self {
            inbox,
            room: Rooms::new(options.outbox, options.outbox_bytes),
            health: link.health(),
            patient,
            stopping,
            journal_is_late,
        }
    }

    /// Whether the journal has confirmed nothing for too long although something waits for it.
    pub(super) fn journal_is_late(&self) -> bool {
        *self.journal_is_late.borrow()
    }

    /// Publishes messages, and waits until all are confirmed and none was returned.
    ///
    /// Dropping the future leaves it open whether they are published.
    pub(super) async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), Unconfirmed> {
        if messages.is_empty() {
            return Ok(());
        }
        if self.stopping.borrow().is_some() {
            return Err(Unconfirmed::Closed);
        }
        if !self.patient
            && let Health::Blocked(why) = &*self.health.borrow()
        {
            return Err(Unconfirmed::Blocked(Arc::clone(why)));
        }
        let bytes = messages.iter().map(|message| message.body.len()).sum();
        let room = self.room.take(messages.len(), bytes)?;
        let (reply, answer) = oneshot::channel();
        let batch = Batch {
            messages,
            since: Instant::now(),
            reply,
            room,
        };
        if self.inbox.send(batch).is_err() {
            return Err(Unconfirmed::Closed);
        }
        // Without an answer: the task ended.
        answer.await.unwrap_or(Err(Unconfirmed::Closed))
    }

    /// Takes nothing more, and waits for the confirms of what is there, for a while.
    pub(super) async fn stop(&self, patience: Duration) {
        self.stopping.send_if_modified(|stopping| {
            let first = stopping.is_none();
            if first {
                *stopping = Some(Instant::now() + patience);
            }
            first
        });
        self.inbox.closed().await;
    }
}

/// How much is kept, and how much may be.
#[derive(Debug)]
pub(super) struct Rooms {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    most_messages: usize,
    most_bytes: usize,
}

impl Rooms {
    pub(super) fn new(most_messages: usize, most_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most_messages,
            most_bytes,
        })
    }

    /// The messages and the bytes that are kept.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (
            self.messages.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    pub(super) fn take(self: &Arc<Self>, messages: usize, bytes: usize) -> Result<Room, Unconfirmed> {
        // Taken first and looked at then, so that two who come at the same time can't both have the last place.
        let room = Room {
            rooms: Arc::clone(self),
            messages,
            bytes,
        };
        let messages_before = self.messages.fetch_add(messages, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = messages_before.saturating_add(messages) <= self.most_messages
            && bytes_before.saturating_add(bytes) <= self.most_bytes;
        // A batch that is larger than all there is has to go some time.
        if fits || messages_before == 0 {
            Ok(room)
        } else {
            Err(Unconfirmed::Full {
                messages: messages_before,
                bytes: bytes_before,
            })
        }
    }
}

/// The place of some messages, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    rooms: Arc<Rooms>,
    messages: usize,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.messages.fetch_sub(self.messages, Ordering::Relaxed);
        self.rooms.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
