//! The thread that owns the connection, and the way to it.
//!
//! Guarantees: operations run one at a time, in the order in which they were sent. Those that wait while another commits are
//! committed together, each in a savepoint of its own, so that one that fails undoes itself alone. A reply, and the waking of those
//! who wait for a change, comes after the commit. If the commit fails, all of them report it.
//!
//! An operation that was sent is carried out even if its sender no longer waits: values that own something (a delivery, a granted lock) give
//! it back when they are dropped unread.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use tokio::sync::{oneshot, watch};

use super::session::{Session, SharedError, Touched, code_index};
use super::{EmbeddedOptions, OpenError, schema};
use crate::{
    BackendError, InspectError, JournalError, LockError, PublishError, ReceiveError, SettleError, Work,
};

/// More operations than this do not share a commit, so that the first does not wait too long.
const BATCH: usize = 256;

/// The way to the thread that owns the connection.
#[derive(Debug)]
pub(crate) struct Store {
    orders: mpsc::Sender<Order>,
    signals: Arc<Signals>,
}

/// What others wait for.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Goes up when there may be something to receive.
    work: [watch::Sender<u64>; Work::ALL.len()],
    /// The offset of the last record.
    journal: watch::Sender<u64>,
    /// Goes up when a lease ended.
    leases: watch::Sender<u64>,
}

impl Signals {
    pub(super) fn subscribe(&self, work: Work) -> watch::Receiver<u64> {
        let [plan, steps, forward] = &self.work;
        match work {
            Work::Plan => plan.subscribe(),
            Work::Steps => steps.subscribe(),
            Work::Forward => forward.subscribe(),
        }
    }

    pub(super) fn journal(&self) -> watch::Receiver<u64> {
        self.journal.subscribe()
    }

    pub(crate) fn leases(&self) -> watch::Receiver<u64> {
        self.leases.subscribe()
    }

    fn send(&self, touched: Touched) {
        for work in Work::ALL {
            let index = code_index(work);
            if let (Some(true), Some(signal)) = (touched.work.get(index), self.work.get(index)) {
                signal.send_modify(|count| *count = count.wrapping_add(1));
            }
        }
        if let Some(last) = touched.journal {
            self.journal.send_replace(last);
        }
        if touched.leases {
            self.leases.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Wakes everybody, so that they learn that the store is gone.
    fn send_all(&self) {
        self.send(Touched {
            work: [true; Work::ALL.len()],
            journal: Some(u64::MAX),
            leases: true,
        });
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the store is shut down")]
    Closed,
    #[error(transparent)]
    Sqlite(SharedError),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// Says what a failed operation means at a port.
macro_rules! port_error {
    ($($port:ident),*) => {$(
        impl From<StoreError> for $port {
            fn from(error: StoreError) -> Self {
                match error {
                    StoreError::Closed => Self::Closed,
                    StoreError::Sqlite(error) => Self::Backend(BackendError::new(error)),
                }
            }
        }
    )*};
}
port_error!(
    PublishError,
    ReceiveError,
    SettleError,
    InspectError,
    JournalError,
    LockError
);

enum Order {
    Run(Job),
    Stop(oneshot::Sender<()>),
}

/// Carries out an operation, or takes note that it can't be. Says whether it succeeded, and how to tell its sender once that is
/// committed, or is not.
type Job = Box<dyn FnOnce(Result<&mut Session, StoreError>) -> (bool, Reply) + Send>;
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

impl Store {
    pub(super) async fn start(path: Option<PathBuf>, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let shown = path
            .clone()
            .unwrap_or_else(|| PathBuf::from("the queue in memory"));
        let failed = |source| OpenError::Io {
            path: shown.clone(),
            source,
        };
        let (orders, inbox) = mpsc::channel();
        let (opened, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("lockflight-store".to_owned())
            .spawn(move || match schema::open(path, options) {
                Ok(open) => {
                    let signals = Arc::new(Signals {
                        work: std::array::from_fn(|_| watch::Sender::new(0)),
                        journal: watch::Sender::new(open.last_record),
                        leases: watch::Sender::new(0),
                    });
                    if opened.send(Ok(Arc::clone(&signals))).is_ok() {
                        let stopped = serve(open.session, &inbox, &signals);
                        // The connection is closed by now. Only then may another process have the file.
                        drop(open.file_lock);
                        drop(inbox);
                        signals.send_all();
                        if let Some(stopped) = stopped {
                            // Whoever asked may have gone.
                            stopped.send(()).unwrap_or_default();
                        }
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(failed)?;
        let signals = outcome
            .await
            .map_err(|_gone| failed(std::io::Error::other("the store's thread ended early")))??;
        Ok(Self { orders, signals })
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Carries out an operation and waits until it is committed.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(operation, move |result| drop(reply.send(result)))?;
        answer.await.map_err(|_gone| StoreError::Closed)?
    }

    /// Carries out an operation that nobody waits for.
    pub(crate) fn post(
        &self,
        what: &'static str,
        operation: impl FnOnce(&mut Session) -> Result<(), StoreError> + Send + 'static,
    ) {
        // A store that is shut down needs no such tidying: the next start does it.
        drop(self.send(operation, move |result| {
            if let Err(error) = result {
                tracing::warn!(%error, what, "the embedded queue could not be written");
            }
        }));
    }

    fn send<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'static,
        reply: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let job: Job = Box::new(move |session| {
            let result = session.and_then(operation);
            let succeeded = result.is_ok();
            let reply: Reply = Box::new(move |committed| reply(committed.and(result)));
            (succeeded, reply)
        });
        self.orders
            .send(Order::Run(job))
            .map_err(|_gone| StoreError::Closed)
    }

    /// Ends the thread once it has done what was sent before, and waits for that.
    pub(super) async fn stop(&self) {
        let (stopped, done) = oneshot::channel();
        if self.orders.send(Order::Stop(stopped)).is_ok() {
            // An error means that the thread has ended, which is what we wait for.
            drop(done.await);
        }
    }
}

/// Carries out orders until told to stop, or until nobody is left who could send one.
fn serve(
    mut session: Session,
    inbox: &mpsc::Receiver<Order>,
    signals: &Signals,
) -> Option<oneshot::Sender<()>> {
    while let Ok(first) = inbox.recv() {
        let mut jobs = Vec::new();
        let mut stop = None;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Run(job) => jobs.push(job),
                Order::Stop(stopped) => {
                    stop = Some(stopped);
                    break;
                }
            }
            next = if jobs.len() < BATCH {
                inbox.try_recv().ok()
            } else {
                None
            };
        }
        let (replies, committed) = carry_out(&mut session, jobs);
        for reply in replies {
            reply(committed.clone());
        }
        let touched = std::mem::take(&mut session.touched);
        if committed.is_ok() {
            signals.send(touched);
        }
        if stop.is_some() {
            return stop;
        }
    }
    None
}

/// Runs operations in one transaction.
fn carry_out(session: &mut Session, jobs: Vec<Job>) -> (Vec<Reply>, Result<(), StoreError>) {
    let mut standing = session.execute("BEGIN IMMEDIATE", []).map(drop);
    let mut replies = Vec::with_capacity(jobs.len());
    for job in jobs {
        let (reply, next) = match standing {
            Ok(()) => run_in_savepoint(session, job),
            // Without the transaction nothing may run: a savepoint of its own would commit.
            Err(error) => (job(Err(error.clone())).1, Err(error)),
        };
        standing = next;
        replies.push(reply);
    }
    let committed = standing.and_then(|()| session.execute("COMMIT", []).map(drop));
    if committed.is_err()
        && !session.connection.is_autocommit()
        && let Err(error) = session.execute("ROLLBACK", [])
    {
        tracing::error!(%error, "the embedded queue could not undo a failed transaction");
    }
    (replies, committed)
}

/// Runs one operation so that it undoes itself if it fails. An error here is one of the savepoint, and spoils the batch.
fn run_in_savepoint(session: &mut Session, job: Job) -> (Reply, Result<(), StoreError>) {
    if let Err(error) = session.execute("SAVEPOINT operation", []) {
        return (job(Err(error.clone())).1, Err(error));
    }
    let touched = session.touched;
    let (succeeded, reply) = job(Ok(&mut *session));
    let undone = if succeeded {
        Ok(0)
    } else {
        session.touched = touched;
        session.execute("ROLLBACK TO operation", [])
    };
    let ended = undone.and_then(|_| session.execute("RELEASE operation", []));
    (reply, ended.map(drop))
}
