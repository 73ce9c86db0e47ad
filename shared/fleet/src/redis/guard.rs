//! A held lock, and what renews it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lockflight_promotion::{Fence, Lease, RepoId};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::AbortHandle;

use super::local::Slot;
use super::lock::{Claim, Inner};
use crate::lock::proofs::Proofs;
use crate::{LockError, LockGuard};

/// A renewal that failed is not tried again before this share of a lease has passed.
const TRY_AGAIN: u32 = 30;

/// A held lock: of Redis, or of this process alone while Redis is away (its fence is 0 then).
pub struct RedisGuard {
    /// `None` without Redis.
    claim: Option<Arc<Claim>>,
    /// Free as soon as the lease is lost, for whoever has the lock then.
    slot: Arc<Mutex<Option<Slot>>>,
    proofs: Proofs,
    standing: watch::Receiver<Standing>,
    renewal: AbortHandle,
    since: Instant,
    inner: Arc<Inner>,
    /// Given back with the guard, not when the lease is lost: who lost it may still be working.
    _permit: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for RedisGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisGuard")
            .field("lease", self.lease())
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

/// How a lease stands, as its renewal knows it.
#[derive(Clone, Copy, Debug)]
struct Standing {
    deadline: Instant,
    lost: bool,
}

impl RedisGuard {
    /// A lock that Redis has granted, asked for at that moment.
    pub(super) fn held(claim: Claim, asked: Instant, fence: Fence) -> Self {
        let inner = Arc::clone(claim.inner());
        let repo = claim.repo();
        Self::new(inner, repo, fence, asked, Some(claim), None)
    }

    /// The right of this process to go on while Redis is away.
    pub(super) fn without_redis(inner: Arc<Inner>, repo: RepoId, permit: OwnedSemaphorePermit) -> Self {
        Self::new(inner, repo, Fence(0), Instant::now(), None, Some(permit))
    }

    fn new(
        inner: Arc<Inner>,
        repo: RepoId,
        fence: Fence,
        asked: Instant,
        claim: Option<Claim>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let deadline = asked + inner.options.hold();
        let (sender, standing) = watch::channel(Standing {
            deadline,
            lost: false,
        });
        let claim = claim.map(Arc::new);
        let slot = Arc::default();
        let renewal = Renewal {
            inner: Arc::clone(&inner),
            slot: Arc::clone(&slot),
            repo,
            fence,
            standing: sender,
        };
        let renewal = tokio::spawn(renewal.run(claim.clone(), asked)).abort_handle();
        Self {
            claim,
            slot,
            proofs: Proofs::issue(repo, fence, deadline),
            standing,
            renewal,
            since: Instant::now(),
            inner,
            _permit: permit,
        }
    }

    /// Keeps others of this process away, until the lease is over.
    pub(super) fn take_slot(&mut self, slot: Slot) {
        let mut place = lock(&self.slot);
        // Its renewal may have found it lost meanwhile, and would not look again.
        if !self.standing.borrow().lost {
            *place = Some(slot);
        }
    }

    /// Whether it is of this process alone, since Redis was away.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.lease().fence() == Fence(0)
    }

    pub(super) async fn is_lost(&self) {
        let mut standing = self.standing.clone();
        // An error means that nobody renews any more, which is as good as lost.
        drop(standing.wait_for(|standing| standing.lost).await);
    }
}

impl LockGuard for RedisGuard {
    fn lease(&self) -> &Lease {
        let deadline = self.standing.borrow().deadline;
        self.proofs.with_deadline(deadline)
    }

    async fn lost(&self) {
        self.is_lost().await;
    }

    async fn release(self) -> Result<(), LockError> {
        self.renewal.abort();
        // First here, so that the next one finds the slot free when Redis says that it is its turn.
        drop(lock(&self.slot).take());
        match &self.claim {
            Some(claim) => claim.give_back().await,
            None => Ok(()),
        }
    }
}

impl Drop for RedisGuard {
    fn drop(&mut self) {
        self.renewal.abort();
        drop(lock(&self.slot).take());
        self.inner.metrics.held(self.since.elapsed());
        if let Some(claim) = &self.claim {
            claim.leave();
        }
    }
}

fn lock(slot: &Mutex<Option<Slot>>) -> MutexGuard<'_, Option<Slot>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a lease from running out.
struct Renewal {
    inner: Arc<Inner>,
    slot: Arc<Mutex<Option<Slot>>>,
    repo: RepoId,
    fence: Fence,
    standing: watch::Sender<Standing>,
}

impl Renewal {
    async fn run(self, claim: Option<Arc<Claim>>, asked: Instant) {
        match claim {
            Some(claim) => self.keep_in_redis(&claim, asked).await,
            None => self.keep_without_redis(asked).await,
        }
        self.lose();
    }

    /// Returns when the lease is over.
    async fn keep_in_redis(&self, claim: &Claim, asked: Instant) {
        let lease = self.inner.options.lease;
        let mut at = asked + lease / 3;
        loop {
            let deadline = self.deadline();
            tokio::time::sleep_until(at.min(deadline).into()).await;
            let tried = tokio::select! {
                biased;
                // After a pause of this process, both may be true: then it is too late.
                () = tokio::time::sleep_until(deadline.into()) => return,
                tried = self.renew(claim) => tried,
            };
            match tried {
                Some(Ok(asked)) => {
                    self.standing
                        .send_modify(|standing| standing.deadline = asked + self.inner.options.hold());
                    at = asked + lease / 3;
                }
                // It is somebody else's, or all is shut down.
                None => return,
                Some(Err(())) => at = Instant::now() + lease / TRY_AGAIN,
            }
        }
    }

    /// Renews once, as soon as there is a session. When it was asked, an error if it is to be tried again, or `None` if it is lost.
    async fn renew(&self, claim: &Claim) -> Option<Result<Instant, ()>> {
        let session = self.inner.link.up().await?;
        let asked = Instant::now();
        match claim.renew(&session).await {
            Ok(true) => Some(Ok(asked)),
            Ok(false) => None,
            Err(error) => {
                tracing::debug!(repo = %self.repo, lock.fence = self.fence.0, %error, "a lease could not be renewed yet");
                Some(Err(()))
            }
        }
    }

    /// Returns when the lease is over: a lease after Redis is back, at the latest.
    async fn keep_without_redis(&self, began: Instant) {
        let options = &self.inner.options;
        let mut at = began + options.lease / 3;
        loop {
            let deadline = self.deadline();
            tokio::time::sleep_until(at.min(deadline).into()).await;
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            at = now + options.lease / 3;
            if !self.inner.link.is_up() {
                self.standing
                    .send_modify(|standing| standing.deadline = now + options.hold());
            }
        }
    }

    fn deadline(&self) -> Instant {
        self.standing.borrow().deadline
    }

    fn lose(&self) {
        let (repo, fence) = (self.repo, self.fence.0);
        tracing::warn!(%repo, lock.fence = fence, "the lease of repository {repo} is lost");
        self.inner.metrics.lost();
        let mut slot = lock(&self.slot);
        self.standing.send_modify(|standing| {
            standing.lost = true;
            standing.deadline = standing.deadline.min(Instant::now());
        });
        drop(slot.take());
    }
}
