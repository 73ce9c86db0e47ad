//! The contract on the embedded adapter, and what is its own.

mod file;
mod kill;
mod model;
mod store;
mod strict;

use std::time::{Duration, Instant};

use lockflight_promotion::RepoId;
use tempfile::TempDir;

use crate::clock::ManualClock;
use crate::contract::{LockWorld, QueueWorld};
use crate::embedded::{EmbeddedFleet, EmbeddedOptions};
use crate::{Schedule, Work};

/// A fleet on a file of its own, with a clock that is moved by hand.
struct World {
    fleet: EmbeddedFleet,
    clock: ManualClock,
    options: EmbeddedOptions,
    directory: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut EmbeddedOptions)) -> Self {
        let clock = ManualClock::new();
        let mut options = EmbeddedOptions {
            visibility: Duration::from_mins(1),
            lease: Duration::from_secs(30),
            max_attempts: 4,
            max_losses: 6,
            backoff: Schedule {
                initial: Duration::from_secs(1),
                factor: 2.0,
                max: Duration::from_secs(5),
                jitter: 0.0,
            },
            clock: clock.clock(),
            ..EmbeddedOptions::default()
        };
        change(&mut options);
        let directory = tempfile::tempdir().unwrap();
        let fleet = EmbeddedFleet::open(directory.path().join("queue.db"), options.clone())
            .await
            .unwrap();
        Self {
            fleet,
            clock,
            options,
            directory,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("queue.db")
    }

    async fn reopen(self) -> Self {
        self.fleet.stop().await;
        let fleet = EmbeddedFleet::open(self.path(), self.options.clone())
            .await
            .unwrap();
        Self { fleet, ..self }
    }
}

impl QueueWorld for World {
    type Queue = EmbeddedFleet;

    fn queue(&self) -> EmbeddedFleet {
        self.fleet.clone()
    }

    async fn inject(&self, work: Work, repo: RepoId, bytes: Vec<u8>) {
        self.fleet.inject(work, repo, bytes).await.unwrap();
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn visibility(&self) -> Duration {
        self.options.visibility
    }

    fn max_attempts(&self) -> u32 {
        self.options.max_attempts
    }

    fn longest_wait(&self) -> Duration {
        self.options.backoff.max
    }

    async fn close(&self) {
        self.fleet.close();
    }

    async fn restart(self) -> Self {
        self.reopen().await
    }
}

impl LockWorld for World {
    type Lock = EmbeddedFleet;

    fn lock(&self) -> EmbeddedFleet {
        self.fleet.clone()
    }

    fn lease(&self) -> Duration {
        self.options.lease
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn now(&self) -> Instant {
        self.clock.instant()
    }

    async fn restart(self) -> Self {
        self.reopen().await
    }
}

mod queue {
    crate::queue_contract!(super::World::new);
}

mod lock {
    crate::lock_contract!(super::World::new);
}
