//! Tasks with names, and their orderly end.
//!
//! What it guarantees: every task that was spawned here is waited for by [`Shutdown::drain`]; a task that panics is logged with its
//! name; when a critical task ends before it was asked to, the drain begins and [`Shutdown::drain`] returns the reason.
//!
//! What may interleave: two moments are announced, and a task may see either first. [`Shutdown::draining`]: take on nothing new, finish
//! what you have. [`Shutdown::cancelled`]: the drain's deadline has passed; stop where you are. A task that is still there a moment
//! after that is left behind, and named in the log. Work inside [`crate::blocking()`] can't be stopped.
//!
//! What it ignores: the value that an ordinary task returns, and a drain that is asked for twice.

mod signals;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::panics::{self, Panicked};

pub use signals::Signal;

/// How long tasks may take to notice the hard stop before they are left behind.
const AFTER_CANCEL: Duration = Duration::from_secs(2);

/// The beginning and the end of the tasks of a process. Clones are the same one; pass it along, never keep it in a static.
#[derive(Clone, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    draining: CancellationToken,
    cancelled: CancellationToken,
    tracker: TaskTracker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many tasks of each name run.
    running: BTreeMap<&'static str, usize>,
    failure: Option<TaskFailed>,
    signal: Option<Signal>,
}

/// A critical task ended before it was asked to; the process can't do its work without it.
#[derive(Debug, thiserror::Error)]
#[error("the task `{task}` ended early, so the process stops")]
pub struct TaskFailed {
    /// The name of the task.
    pub task: &'static str,
    /// What ended it.
    #[source]
    pub reason: EndedBy,
}

/// What ended a critical task.
#[derive(Debug, thiserror::Error)]
pub enum EndedBy {
    /// It returned an error.
    #[error(transparent)]
    Error(Box<dyn std::error::Error + Send + Sync>),
    /// It panicked.
    #[error(transparent)]
    Panic(#[from] Panicked),
    /// It returned although nobody had asked it to.
    #[error("it returned although no shutdown had begun")]
    Returned,
}

/// How a drain went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// The signal that began it, if one did.
    pub signal: Option<Signal>,
    /// Whether every task ended before the deadline.
    pub in_time: bool,
    /// The names of the tasks that were left behind even after the hard stop.
    pub left_behind: Vec<&'static str>,
}

impl Shutdown {
    /// A process that has not been asked to end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task under a span with its name. A panic of it is logged; other tasks go on.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<Result<F::Output, Panicked>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.inner.tracker.spawn(
            self.watched(name, task)
                .instrument(info_span!("task", task = name)),
        )
    }

    /// As [`spawn`](Self::spawn), without a span: for tasks that are polled so often that entering and leaving it costs, and whose work
    /// has spans of its own.
    pub(crate) fn spawn_bare<F>(&self, name: &'static str, task: F) -> JoinHandle<Result<F::Output, Panicked>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.inner.tracker.spawn(self.watched(name, task))
    }

    /// A task that is known by its name while it runs, and whose panic is logged.
    fn watched<F>(
        &self,
        name: &'static str,
        task: F,
    ) -> impl Future<Output = Result<F::Output, Panicked>> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let running = self.enter(name);
        async move {
            let _running = running;
            let ended = panics::catch(task).await;
            if let Err(panicked) = &ended {
                error!(task = name, panic = %panicked.message, "task `{name}` panicked");
            }
            ended
        }
    }

    /// Runs a task without which the process is of no use. When it ends before the drain has begun, by an error, a panic or on its own,
    /// the drain begins and [`drain`](Self::drain) returns the reason. An error during the drain is logged.
    pub fn spawn_critical<F, E>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let running = self.enter(name);
        let shutdown = self.clone();
        self.inner.tracker.spawn(
            async move {
                let _running = running;
                let reason = match panics::catch(task).await {
                    Ok(Ok(())) if shutdown.is_draining() => return,
                    Ok(Ok(())) => EndedBy::Returned,
                    Ok(Err(failed)) => EndedBy::Error(failed.into()),
                    Err(panicked) => EndedBy::Panic(panicked),
                };
                shutdown.fail(TaskFailed { task: name, reason });
            }
            .instrument(info_span!("task", task = name)),
        )
    }

    /// Asks every task to take on nothing new and to finish what it has.
    pub fn begin_drain(&self) {
        self.inner.draining.cancel();
    }

    /// Whether the drain has begun: take on nothing new.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Ends when the drain begins.
    pub async fn draining(&self) {
        self.inner.draining.cancelled().await;
    }

    /// Whether the hard stop has come.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled()
    }

    /// Ends at the hard stop: the deadline of the drain has passed.
    pub async fn cancelled(&self) {
        self.inner.cancelled.cancelled().await;
    }

    /// Begins the drain at the first SIGINT or SIGTERM. The second one ends the process at once, with 128 and the signal's number as
    /// its exit code, as a shell expects it (130 or 143).
    ///
    /// # Errors
    /// When the process can't listen for signals.
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        signals::listen(self.clone())
    }

    /// Begins the drain, waits until every task has ended, and at the deadline stops those that have not.
    ///
    /// # Errors
    /// When the process ends because a critical task did.
    pub async fn drain(&self, deadline: Duration) -> Result<Drained, TaskFailed> {
        self.begin_drain();
        self.inner.tracker.close();
        let in_time = tokio::time::timeout(deadline, self.inner.tracker.wait())
            .await
            .is_ok();
        let mut left_behind = Vec::new();
        if !in_time {
            warn!(
                tasks = ?self.running(),
                "the drain took longer than {deadline:?}; what is left is stopped now and delivered again later"
            );
        }
        self.inner.cancelled.cancel();
        if !in_time
            && tokio::time::timeout(AFTER_CANCEL, self.inner.tracker.wait())
                .await
                .is_err()
        {
            left_behind = self.running();
            warn!(tasks = ?left_behind, "these tasks did not stop and are left behind");
        }
        let mut state = self.state();
        match state.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(Drained {
                signal: state.signal,
                in_time,
                left_behind,
            }),
        }
    }

    /// The names of the tasks that run, each once.
    #[must_use]
    pub fn running(&self) -> Vec<&'static str> {
        self.state().running.keys().copied().collect()
    }

    fn fail(&self, failure: TaskFailed) {
        error!(task = failure.task, reason = %failure.reason, "{failure}");
        let mut state = self.state();
        // The first failure is the cause; later ones are most often its consequences.
        if state.failure.is_none() {
            state.failure = Some(failure);
        }
        drop(state);
        self.begin_drain();
    }

    fn signalled(&self, signal: Signal) {
        info!(%signal, "{signal}: finishing what is in hand; once more ends the process at once");
        self.state().signal.get_or_insert(signal);
        self.begin_drain();
    }

    fn enter(&self, name: &'static str) -> Running {
        *self.state().running.entry(name).or_default() += 1;
        Running {
            shutdown: self.clone(),
            name,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; and if it did, the names and the first failure would still be right.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("draining", &self.is_draining())
            .field("cancelled", &self.is_cancelled())
            .field("running", &self.running())
            .finish()
    }
}

/// Keeps the name of a task among the running ones until it is dropped.
struct Running {
    shutdown: Shutdown,
    name: &'static str,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.shutdown.state();
        if let Some(count) = state.running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                state.running.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
