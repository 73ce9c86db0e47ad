//! How an embedded fleet behaves.

use std::time::Duration;

use crate::{Clock, Schedule};

/// How an embedded fleet behaves. The defaults are for production.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// How long a worker may have a message before it goes to another, unless the worker keeps it.
    pub visibility: Duration,
    /// How long a repository's lease lasts when it is not renewed.
    pub lease: Duration,
    /// After that many failures a message is parked; at least 1.
    pub max_attempts: u32,
    /// After that many hand-outs that ended without a word (the worker hung, or the process died) a message is parked; at least 1.
    pub max_losses: u32,
    /// How long a failed message waits.
    pub backoff: Schedule,
    /// How much the journal keeps.
    pub journal: JournalLimits,
    /// What it does on purpose that a fleet of many processes may do by accident.
    pub strictness: Strictness,
    /// The clock.
    pub clock: Clock,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            visibility: Duration::from_mins(5),
            lease: Duration::from_secs(30),
            max_attempts: 10,
            max_losses: 20,
            backoff: Schedule::production(),
            journal: JournalLimits::default(),
            strictness: Strictness::default(),
            clock: Clock::system(),
        }
    }
}

/// How much the journal keeps. The oldest records go first, a while after they are over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// The greatest age of a record.
    pub max_age: Option<Duration>,
    /// The greatest sum of the messages' sizes, in bytes.
    pub max_bytes: Option<u64>,
}

impl Default for JournalLimits {
    /// 90 days, and 1 GiB.
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_hours(90 * 24)),
            max_bytes: Some(1 << 30),
        }
    }
}

/// What an embedded fleet does on purpose, so that tests meet what a fleet of many processes may meet. The dice are seeded: the same
/// operations in the same order meet the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strictness {
    /// With a seed, hands out work in an arbitrary order: any repository's turn, and any of the next few deliveries. Steps of one
    /// repository stay in order.
    pub reorder: Option<u64>,
    /// How many of 100 acknowledged messages come once more, as if the acknowledgement had been lost on its way.
    pub redeliver: u8,
    /// How many of 100 leases are over as soon as they are granted, as if the holder had been paused for too long.
    pub expire_leases: u8,
}
