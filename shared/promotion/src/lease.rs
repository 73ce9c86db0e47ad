//! The proof that a repository's lock is held.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::RepoId;

/// A number that grows with each lease of one repository. It orders holders in logs; the fence that protects git is the
/// compare-and-swap on the ref itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// The proof that the lock of one repository is held until a deadline. Every git write demands one, so code that forgot
/// to lock does not compile.
///
/// Only `lockflight_fleet`'s lock issues it (the structure test holds that). It is not `Clone`: there is one per grant.
/// Losing the lock may cost time, never correctness.
#[derive(Debug)]
pub struct Lease {
    repo: RepoId,
    fence: Fence,
    deadline: Instant,
}

/// The lease ran out, or is of another repository; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseExpired {
    /// The deadline has passed.
    #[error("the lease of repository {repo} (fence {}) ended {late:?} ago; another worker may hold the lock now", fence.0)]
    Late {
        /// The repository.
        repo: RepoId,
        /// The lease's number.
        fence: Fence,
        /// For how long it has been over.
        late: Duration,
    },
    /// The lease is of another repository.
    #[error("the lease is of repository {held}, the write of repository {wanted}")]
    OtherRepository {
        /// The repository of the lease.
        held: RepoId,
        /// The repository of the write.
        wanted: RepoId,
    },
}

impl Lease {
    /// Issues a lease. For the lock adapters alone.
    #[must_use]
    pub const fn issue(repo: RepoId, fence: Fence, deadline: Instant) -> Self {
        Self {
            repo,
            fence,
            deadline,
        }
    }

    /// The repository whose lock is held.
    #[must_use]
    pub const fn repo(&self) -> RepoId {
        self.repo
    }

    /// The number of this grant.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// The moment on the local monotonic clock after which no effect may begin.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline, after the lock was renewed. For the lock adapters alone.
    pub const fn extend(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Checks that the lease is of `repo` and still holds at `now`.
    ///
    /// # Errors
    /// When it is of another repository, or over.
    pub fn check(&self, repo: RepoId, now: Instant) -> Result<(), LeaseExpired> {
        if self.repo != repo {
            return Err(LeaseExpired::OtherRepository {
                held: self.repo,
                wanted: repo,
            });
        }
        if now >= self.deadline {
            return Err(LeaseExpired::Late {
                repo,
                fence: self.fence,
                late: now.duration_since(self.deadline),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_for_its_repository_until_its_deadline() {
        #[expect(clippy::disallowed_methods, reason = "an instant can be had in no other way")]
        let start = Instant::now();
        let lease = Lease::issue(RepoId::new(7), Fence(3), start + Duration::from_secs(30));
        assert_eq!(lease.check(RepoId::new(7), start), Ok(()));
        assert!(matches!(
            lease.check(RepoId::new(8), start),
            Err(LeaseExpired::OtherRepository { .. })
        ));
        assert!(matches!(
            lease.check(RepoId::new(7), start + Duration::from_secs(30)),
            Err(LeaseExpired::Late { .. })
        ));
    }
}
