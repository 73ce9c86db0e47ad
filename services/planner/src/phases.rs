//! How long the parts of a reading took.

use std::time::Instant;

use lockflight_promotion::message::Phase;

use crate::reply::millis;

/// Measures one phase after another.
pub(crate) struct Phases {
    since: Instant,
    pub(crate) done: Vec<Phase>,
}

impl Phases {
    pub(crate) fn start() -> Self {
        Self {
            since: Instant::now(),
            done: Vec::new(),
        }
    }

    pub(crate) fn end(&mut self, name: &str) {
        self.done.push(Phase {
            name: name.to_owned(),
            ms: millis(self.since),
        });
        self.since = Instant::now();
    }
}
