//! Queue, journal and lock on one SQLite file, for one process.
//!
//! Guarantees: what was confirmed is on disk (WAL with `synchronous=FULL`) and survives `kill -9`; one process uses a file at a time; a
//! settlement and what follows from it are one transaction.
//!
//! One thread owns the connection; everybody else sends it closures, and it commits those that wait together in one transaction (see
//! `store`). What may interleave is therefore only whole operations. Receivers sleep until something changed or falls due; nobody
//! polls.
//!
//! At start nobody else can be alive (the file is locked), so what was in flight goes back at once, counted as lost, and every lease
//! ends. A message that was lost too often (by default 20 times: its worker hung, or the process died with it) is parked, so that
//! one that kills the process does not do so forever.
//!
//! Deliberately not: several processes, and power-loss guarantees beyond those of the disk's own fsync.

mod delivery;
mod journal;
pub(crate) mod leases;
mod messages;
mod options;
mod queue;
mod schema;
mod session;
mod settle;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockflight_promotion::RepoId;
use tokio::sync::watch;

use crate::BackendError;
pub use delivery::EmbeddedDelivery;
pub use options::{EmbeddedOptions, JournalLimits, Strictness};
use store::{Signals, Store};

/// A process that was killed a moment ago may still hold the file for that long.
const PREDECESSOR: Duration = Duration::from_secs(1);

/// Queue, journal and lock on one SQLite file. Clones share it.
///
/// The file stays open (and locked against other processes) until [`EmbeddedFleet::stop`], or until the last clone, delivery and
/// lock guard is gone.
#[derive(Clone, Debug)]
pub struct EmbeddedFleet {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) options: EmbeddedOptions,
    /// One line of waiters per repository.
    pub(crate) lines: Mutex<HashMap<RepoId, Arc<tokio::sync::Mutex<()>>>>,
    closing: watch::Sender<bool>,
}

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{} is in use by another Lockflight process; stop that one, or give this one a file of its own",
        path.display()
    )]
    InUse {
        /// The queue's file.
        path: PathBuf,
    },
    /// It was written by a newer program.
    #[error(
        "{} was written by a newer Lockflight (schema {found}, this one knows {known}); run that version, or give this one a file of its own",
        path.display()
    )]
    Newer {
        /// The queue's file.
        path: PathBuf,
        /// The schema's version in the file.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// It is another program's database.
    #[error("{} is a database, but not one of Lockflight's; give another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file, its directory or its lock file can't be made or opened.
    #[error("{} can't be opened; check that its directory exists and is writable", path.display())]
    Io {
        /// The queue's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// SQLite can't use the file.
    #[error("{} can't be used as a database", path.display())]
    Database {
        /// The queue's file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: BackendError,
    },
}

impl EmbeddedFleet {
    /// Opens a file, or makes it (and its directory). A process that is just ending is waited for, for a second. Beside it lie `<file>.lock`, and SQLite's own `-wal` and `-shm`.
    ///
    /// # Errors
    /// When another process uses it, or it can't be used; each error says what to do.
    pub async fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self, OpenError> {
        Self::start(Some(path.as_ref().to_owned()), options).await
    }

    /// A fleet that is gone with the process, for tests.
    ///
    /// # Errors
    /// When SQLite can't make it.
    pub async fn open_in_memory(options: EmbeddedOptions) -> Result<Self, OpenError> {
        Self::start(None, options).await
    }

    async fn start(path: Option<PathBuf>, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let asked = Instant::now();
        let store = loop {
            match Store::start(path.clone(), options.clone()).await {
                Err(OpenError::InUse { .. }) if asked.elapsed() < PREDECESSOR => {
                    tokio::time::sleep(PREDECESSOR / 20).await;
                }
                started => break started?,
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                options,
                lines: Mutex::new(HashMap::new()),
                closing: watch::Sender::new(false),
            }),
        })
    }

    /// Hands out nothing more: each `receive` returns `None`. What is in flight can still be settled, and publishing goes on, so
    /// that workers can drain.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    /// Closes the queue and the file, and releases the file's lock. Operations that were begun are finished; later ones report that the
    /// fleet is shut down. What is still in flight comes again after the next start.
    pub async fn stop(&self) {
        self.close();
        self.inner.store.stop().await;
    }

    /// Waits until no work is ready, delayed or in flight: everything was settled or is parked. Returns also when the fleet
    /// is stopped.
    pub async fn quiet(&self) {
        let mut plan = self.signals().subscribe(crate::Work::Plan);
        let mut steps = self.signals().subscribe(crate::Work::Steps);
        let mut forward = self.signals().subscribe(crate::Work::Forward);
        loop {
            plan.mark_unchanged();
            steps.mark_unchanged();
            forward.mark_unchanged();
            match self.inner.store.run(|session| session.is_idle()).await {
                Ok(false) => {}
                Ok(true) | Err(_) => return,
            }
            tokio::select! {
                _ = plan.changed() => {}
                _ = steps.changed() => {}
                _ = forward.changed() => {}
            }
        }
    }

    pub(crate) fn signals(&self) -> &Signals {
        self.inner.store.signals()
    }

    fn closing(&self) -> watch::Receiver<bool> {
        self.inner.closing.subscribe()
    }
}
