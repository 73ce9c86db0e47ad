//! A way to the broker: one channel, opened anew whenever it is lost, and what waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use lapin::Channel;
use tokio::time::Instant;

use super::channels::{Opening, Why};
use crate::Schedule;

/// How long to wait before a channel that failed is opened again on the same connection.
const REOPEN: Schedule = Schedule {
    initial: Duration::from_millis(50),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: 0.3,
};

/// What a message is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// For what goes to the journal's stream, and nothing else.
    Journaled,
    /// For what does not.
    Other,
    /// A channel of its own, for one that may have been the end of another.
    Alone,
}

/// A channel, and what waits for it.
pub(super) struct Lane {
    pub(super) channel: Option<Channel>,
    pub(super) opening: Option<Opening>,
    /// Which channel it is: answers of those before it are not waited for any more.
    pub(super) generation: u64,
    /// How many are on their way here.
    pub(super) on_their_way: usize,
    pub(super) to_send: VecDeque<u64>,
    /// How often it failed since the last confirm.
    pub(super) failures: u32,
    pub(super) dying: Option<Dying>,
    /// When the broker last answered something here, or had nothing to answer.
    pub(super) progress: Instant,
}

/// A channel that failed, and of which not everything has come back.
pub(super) struct Dying {
    pub(super) since: Instant,
    pub(super) why: Why,
    /// What was on its way, and got no answer.
    pub(super) suspects: Vec<u64>,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            channel: None,
            opening: None,
            generation: 0,
            on_their_way: 0,
            to_send: VecDeque::new(),
            failures: 0,
            dying: None,
            progress: Instant::now(),
        }
    }

    /// Whether it is open, and nothing was answered there for so long.
    pub(super) fn is_silent(&self, patience: Duration) -> bool {
        self.channel.is_some() && self.progress.elapsed() > patience
    }

    /// Forgets the channel. What was on its way there is the caller's to send again.
    pub(super) fn forget(&mut self) {
        self.channel = None;
        self.opening = None;
        self.dying = None;
        self.on_their_way = 0;
        self.generation += 1;
    }

    /// Counts a failure, and says how long to wait now.
    pub(super) fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        REOPEN.delay(self.failures)
    }

    /// A message came back without an answer.
    pub(super) fn suspect(&mut self, number: u64, why: Why) {
        self.channel = None;
        let dying = self.dying.get_or_insert_with(|| Dying {
            since: Instant::now(),
            why: why.clone(),
            suspects: Vec::new(),
        });
        // Not all of them are told what the broker said.
        if dying.why.reply.is_none() {
            dying.why = why;
        }
        dying.suspects.push(number);
    }
}
