//! The queue port: work between the roles, at least once.
//!
//! Guarantees, for every adapter:
//! - [`Queue::publish`] that returned `Ok` is durable, and each message is on its work queue and in the journal. Those that
//!   [carry the body of a webhook](Envelope::is_journaled) are on their work queue alone.
//! - A message is handed out until it is settled. It may be handed out more than once, so effects must be repeatable.
//! - Of one repository at most one batch of [`Work::Steps`] messages is out at a time, those published first among those due, in
//!   their order. Repositories take turns: one that floods the queue does not hold up the others.
//! - A message that came back counted is handed out alone, so that one that breaks its worker breaks nobody else's work.
//! - A message that keeps failing is parked with the reason, and stays until a person releases it.
//!
//! An adapter may let a message that waits stand for equal ones (of the same [`Envelope::id`] and repository) that are published in the
//! meantime; it is then due at once. The journal has each of them.
//!
//! Deliberately not: exactly-once delivery, order between repositories, order of [`Work::Plan`] and [`Work::Forward`] messages.

use std::fmt;
use std::time::Duration;

use lockflight_promotion::message::Envelope;
use lockflight_promotion::{ErrorClass, classified};

use crate::{BackendError, Content};

/// A kind of work, each with a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Deliveries, gates and pushes, for planners.
    Plan,
    /// Steps, for executors.
    Steps,
    /// Webhooks to be passed on, each to one endpoint.
    Forward,
}

impl Work {
    /// Every kind of work.
    pub const ALL: [Self; 3] = [Self::Plan, Self::Steps, Self::Forward];

    /// The work that a message is, by its routing key; none for what only the journal keeps.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Option<Self> {
        Self::of_key(&envelope.routing_key())
    }

    /// The work that a routing key stands for.
    pub(crate) fn of_key(key: &str) -> Option<Self> {
        match key.split('.').next() {
            Some("delivery" | "gate" | "push") => Some(Self::Plan),
            Some("step") => Some(Self::Steps),
            Some("forward") => Some(Self::Forward),
            _ => None,
        }
    }

    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Steps => "steps",
            Self::Forward => "forward",
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The queue between the roles. Clones share one queue.
pub trait Queue: Clone + Send + Sync + 'static {
    /// What [`Queue::receive`] hands out.
    type Delivery: Delivery;

    /// The name of what stands behind, in telemetry.
    const SYSTEM: &'static str = lockflight_promotion::telemetry::attribute::SYSTEM_EMBEDDED;

    /// Publishes messages: work (`delivery.*`, `step.*`) to its queue and to the journal, webhooks that are passed on (`push.*`, `forward.*`) to
    /// their queue alone, outcomes to the journal alone. All are durable once it returns `Ok`.
    ///
    /// # Errors
    /// When not all of the messages are known to be durable; some may be (embedded: none is). Publishing them again is right; it may
    /// double them.
    fn publish(&self, messages: &[Envelope]) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// Waits for work: the next messages of one repository in their order, one at least and `most` at most; `None` once the queue is
    /// closed. Messages of [`Work::Plan`] and [`Work::Forward`], and those that came back counted, come one by one. Dropping the future loses nothing: what was
    /// already taken goes back, uncounted.
    ///
    /// # Errors
    /// When the queue can't be read.
    fn receive(
        &self,
        work: Work,
        most: usize,
    ) -> impl Future<Output = Result<Option<Vec<Self::Delivery>>, ReceiveError>> + Send;

    /// How full one queue is.
    ///
    /// # Errors
    /// When the queue can't be read.
    fn depth(&self, work: Work) -> impl Future<Output = Result<Depth, InspectError>> + Send;

    /// What is parked, the oldest first, at most 1,000.
    ///
    /// # Errors
    /// When the queue can't be read.
    fn parked(&self) -> impl Future<Output = Result<Vec<Parked>, InspectError>> + Send;

    /// Puts a parked message back on its queue, with no attempts counted. `false` when it is not parked (any more).
    ///
    /// # Errors
    /// When the queue can't be written.
    fn release(&self, id: &ParkedId) -> impl Future<Output = Result<bool, InspectError>> + Send;

    /// The same for many. Answers for each of them, in their order. A queue that has to look through all that is parked does so once.
    ///
    /// # Errors
    /// When the queue can't be written. Some may have been released by then.
    fn release_each(&self, ids: &[ParkedId]) -> impl Future<Output = Result<Vec<bool>, InspectError>> + Send {
        async move {
            let mut released = Vec::with_capacity(ids.len());
            for id in ids {
                released.push(self.release(id).await?);
            }
            Ok(released)
        }
    }
}

/// A message that was handed out. It is settled once, by a method that consumes it; each can also publish what follows from
/// the message.
///
/// It must be settled within the queue's visibility timeout, or [kept](Delivery::keep): renewal is not automatic, so that a worker that
/// hangs loses its message. One that is dropped unsettled comes again, counted: after the usual backoff if the worker
/// panicked, else at once.
///
/// `follow` and the settling are one where the adapter can do both at once (embedded: one transaction). Where it can't, `follow`
/// is published first, so that a crash between repeats and never loses.
pub trait Delivery: Send + Sync + Sized + 'static {
    /// The message, with [`Envelope::attempt`] set to [`Delivery::attempt`].
    fn envelope(&self) -> &Envelope;

    /// How often it was handed out before and came back counted: 0 at first.
    fn attempt(&self) -> u32;

    /// How often its work failed before ([`Delivery::retry`]): 0 at first. That it was handed out and nothing was heard of it is not counted,
    /// since that is seldom its own fault.
    fn failures(&self) -> u32;

    /// The work is done.
    ///
    /// # Errors
    /// When it is not known to be settled: the message comes again, or has already.
    fn ack(self, follow: Vec<Envelope>) -> impl Future<Output = Result<Settled, SettleError>> + Send;

    /// The work failed and may succeed later: counts an attempt and waits as the schedule says. After the last attempt the
    /// message is parked with the reason, and `last_words` are published, which tell people. Either way the queue itself records
    /// `Retried` or `Parked` in the journal.
    ///
    /// # Errors
    /// When it is not known to be settled: the message comes again, or has already.
    fn retry(
        self,
        reason: &str,
        last_words: Vec<Envelope>,
    ) -> impl Future<Output = Result<Retried, SettleError>> + Send;

    /// The work has to wait for something that is no failure, such as the reset of a rate limit, or checks. Not counted.
    ///
    /// # Errors
    /// When it is not known to be settled: the message comes again, or has already.
    fn defer(
        self,
        after: Duration,
        follow: Vec<Envelope>,
    ) -> impl Future<Output = Result<Settled, SettleError>> + Send;

    /// The work can't be done: parks the message at once. The queue itself records `Parked` in the journal.
    ///
    /// # Errors
    /// When it is not known to be settled: the message comes again, or has already.
    fn park(
        self,
        reason: &str,
        follow: Vec<Envelope>,
    ) -> impl Future<Output = Result<Settled, SettleError>> + Send;

    /// Starts the visibility timeout again. Call it well within the timeout while long work goes on; [`Settled::Stale`] means that
    /// the message has gone to another worker.
    ///
    /// # Errors
    /// When it is not known to be kept.
    fn keep(&self) -> impl Future<Output = Result<Settled, SettleError>> + Send;
}

/// Whether a delivery was still ours to settle.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was, and is settled.
    Done,
    /// The visibility timeout had passed: the message has come back, and settling it is up to whoever has it next. What
    /// was to follow may or may not be published (embedded: it is not).
    Stale,
}

/// What became of a message that failed.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It comes again after that long.
    After(Duration),
    /// That was the last attempt: it is parked.
    Parked,
    /// As [`Settled::Stale`].
    Stale,
}

/// How full a queue is, as counts of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Due, and with nobody. Steps that wait for another step of their repository are among them.
    pub ready: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// With a worker.
    pub in_flight: u64,
    /// Waiting for a person.
    pub parked: u64,
    /// Since when the oldest message that is not parked was published.
    pub oldest_age: Option<Duration>,
}

impl Depth {
    /// Whether nothing is left to do but what is parked.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.ready == 0 && self.delayed == 0 && self.in_flight == 0
    }
}

/// The name of a parked message, opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParkedId(String);

impl ParkedId {
    /// Wraps a name that [`Queue::parked`] gave.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParkedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Its name, for [`Queue::release`].
    pub id: ParkedId,
    /// The queue that it is from.
    pub work: Work,
    /// What it says, or its bytes if that can't be read.
    pub content: Content,
    /// Why it is parked.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when, in milliseconds since 1970 UTC.
    pub parked_at: i64,
}

/// Why messages are not known to be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A message has no form as bytes. Our own mistake.
    #[error("a message could not be written as JSON; nothing was published")]
    Encode(#[source] serde_json::Error),
    /// A message is larger than the broker takes, compressed.
    #[error(
        "a message of {bytes} bytes is larger than the {limit} that the queue takes, even compressed; nothing was published"
    )]
    TooLarge {
        /// Its size, compressed.
        bytes: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// The queue was shut down.
    #[error("the queue is shut down; nothing was published")]
    Closed,
    /// The queue did not confirm.
    #[error("the queue did not confirm the messages; publish them again")]
    Backend(#[source] BackendError),
}

impl PublishError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Encode(_) | Self::TooLarge { .. } => ErrorClass::Bug,
            Self::Closed | Self::Backend(_) => ErrorClass::Retry,
        }
    }
}

/// Why no message could be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The queue was shut down.
    #[error("the queue is shut down")]
    Closed,
    /// The queue can't be read.
    #[error("the queue can't be read; ask again after a pause")]
    Backend(#[source] BackendError),
}

/// Why a message is not known to be settled. It comes again, or has already.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// A message that follows has no form as bytes. Our own mistake.
    #[error("a message that follows could not be written as JSON; the message comes again")]
    Encode(#[source] serde_json::Error),
    /// A message that follows is larger than the broker takes, compressed. The message was parked for it, with this reason.
    #[error(
        "a message that follows has {bytes} bytes, more than the {limit} that the queue takes, even compressed; the message is parked"
    )]
    TooLarge {
        /// Its size, compressed.
        bytes: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// The queue was shut down.
    #[error("the queue is shut down; the message comes again after the next start")]
    Closed,
    /// The queue did not confirm.
    #[error("the queue did not confirm that the message is settled; it comes again")]
    Backend(#[source] BackendError),
}

/// Why the queue could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The queue was shut down.
    #[error("the queue is shut down")]
    Closed,
    /// The queue can't be read or written.
    #[error("the queue can't be looked at; ask again after a pause")]
    Backend(#[source] BackendError),
}

impl ReceiveError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Closed | Self::Backend(_) => ErrorClass::Retry,
        }
    }
}

impl SettleError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Encode(_) | Self::TooLarge { .. } => ErrorClass::Bug,
            Self::Closed | Self::Backend(_) => ErrorClass::Retry,
        }
    }
}

impl InspectError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Closed | Self::Backend(_) => ErrorClass::Retry,
        }
    }
}

classified!(PublishError, ReceiveError, SettleError, InspectError);
