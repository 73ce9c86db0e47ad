//! The proofs that a guard hands out.

use std::sync::OnceLock;
use std::time::Instant;

use lockflight_promotion::{Fence, Lease, RepoId};

/// The proofs of one grant, one for each deadline that somebody asked for.
///
/// A proof that was given out can't change while someone looks at it, so a renewal adds another behind it.
#[derive(Debug)]
pub(crate) struct Proofs {
    lease: Lease,
    next: OnceLock<Box<Self>>,
}

impl Proofs {
    /// The first proof of a grant.
    pub(crate) const fn issue(repo: RepoId, fence: Fence, deadline: Instant) -> Self {
        Self {
            lease: Lease::issue(repo, fence, deadline),
            next: OnceLock::new(),
        }
    }

    /// The proof with that deadline, if no later caller knew better.
    pub(crate) fn with_deadline(&self, deadline: Instant) -> &Lease {
        let mut newest = self;
        while let Some(next) = newest.next.get() {
            newest = next;
        }
        if newest.lease.deadline() == deadline {
            return &newest.lease;
        }
        let (repo, fence) = (newest.lease.repo(), newest.lease.fence());
        &newest
            .next
            .get_or_init(|| Box::new(Self::issue(repo, fence, deadline)))
            .lease
    }
}

impl Drop for Proofs {
    /// One after the other, since a long chain would be deep to drop.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut proof) = next {
            next = proof.next.take();
        }
    }
}
