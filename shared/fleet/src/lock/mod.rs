//! The lock port: one worker at a time in a repository.
//!
//! The lock saves work and orders it. It does not make anything right: what protects git is the compare-and-swap on the ref. A
//! holder that was paused for longer than its lease meets [`Lease::check`], and behind that the forge's own refusal.

mod embedded;
pub(crate) mod proofs;

use lockflight_promotion::{ErrorClass, Lease, RepoId};

use crate::BackendError;

pub use embedded::EmbeddedGuard;

/// Locks, one per repository. Clones share them.
pub trait RepoLock: Clone + Send + Sync + 'static {
    /// What holds a lock.
    type Guard: LockGuard;

    /// Waits for the lock of a repository, first come first served. Dropping the future leaves the line; a lock that was already
    /// granted to it is released.
    ///
    /// # Errors
    /// When the lock can't be asked for.
    fn acquire(&self, repo: RepoId) -> impl Future<Output = Result<Self::Guard, LockError>> + Send;
}

/// A held lock. It renews its lease by itself, at a third of the lease's length, until it is released or dropped (which releases
/// it soon after).
pub trait LockGuard: Send + Sync + Sized + 'static {
    /// The proof of the lock, with the deadline as it stands now. Take it anew before each effect: a reference that was taken
    /// earlier does not learn of renewals.
    ///
    /// The deadline is on the local monotonic clock, and always before the moment at which another may be granted the lock.
    fn lease(&self) -> &Lease;

    /// Waits until the lock is lost: the lease ran out, or could not be renewed. Never, as long as all is well.
    fn lost(&self) -> impl Future<Output = ()> + Send;

    /// Gives the lock back. It is also fine when it was lost already.
    ///
    /// # Errors
    /// When that is not known to have worked: the lease then runs out by itself.
    fn release(self) -> impl Future<Output = Result<(), LockError>> + Send;
}

/// Why a lock could not be asked for, or given back.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock's store was shut down.
    #[error("the lock's store is shut down")]
    Closed,
    /// The lock's store can't be reached.
    #[error("the lock's store can't be reached; ask again after a pause")]
    Backend(#[source] BackendError),
}

impl LockError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Retry
    }
}

lockflight_promotion::classified!(LockError);
