//! The times of one attempt's parts.

use std::time::{Duration, Instant};

use lockflight_fleet::Clock;
use lockflight_promotion::message::Phase;

/// An attempt at a step, from the first look at it on.
#[derive(Debug)]
pub(crate) struct Attempt {
    clock: Clock,
    since: Instant,
    looked: Instant,
    phases: Vec<Phase>,
}

impl Attempt {
    pub(crate) fn start(clock: &Clock) -> Self {
        let now = clock.instant();
        Self {
            clock: clock.clone(),
            since: now,
            looked: now,
            phases: Vec::new(),
        }
    }

    /// Ends a part; another begins.
    pub(crate) fn end(&mut self, name: &str) {
        let now = self.clock.instant();
        let ms = now.saturating_duration_since(self.since).as_millis();
        self.phases.push(Phase {
            name: name.to_owned(),
            ms: u64::try_from(ms).unwrap_or(u64::MAX),
        });
        self.since = now;
    }

    /// How long ago the attempt began, which it does with a look.
    pub(crate) fn age(&self) -> Duration {
        self.clock.instant().saturating_duration_since(self.looked)
    }

    pub(crate) fn into_phases(self) -> Vec<Phase> {
        self.phases
    }
}
