//! The lock port on the embedded store.
//!
//! Guarantees: of one repository one lease is granted at a time; waiters are served in the order in which they asked; the fence grows
//! with each grant, across restarts too; the local deadline lies before the stored one.
//!
//! Only the first in a repository's line asks the store, again after each lease that ended and when the present one runs out. The
//! others wait behind it in a fair mutex.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use lockflight_promotion::{Fence, Lease, RepoId};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::proofs::Proofs;
use super::{LockError, LockGuard, RepoLock};
use crate::clock::millis;
use crate::embedded::EmbeddedFleet;
use crate::embedded::leases::Granted;

/// Lines without a waiter are swept away once there are more than this.
const LINES: usize = 1_024;

impl RepoLock for EmbeddedFleet {
    type Guard = EmbeddedGuard;

    async fn acquire(&self, repo: RepoId) -> Result<EmbeddedGuard, LockError> {
        let line = self.line(repo);
        let _first = line.lock().await;
        let mut ended = self.signals().leases();
        loop {
            ended.mark_unchanged();
            let asked = self.inner.options.clock.instant();
            let fleet = self.clone();
            let granted = self
                .inner
                .store
                .run(move |session| {
                    Ok(match session.grant(repo.get().cast_signed())? {
                        // Made on the store's thread: if nobody waits for it any more, dropping it releases the lock.
                        Granted::Lease { fence, expired } => Ok((Grant { fleet, repo, fence }, expired)),
                        Granted::Held { until } => Err(until),
                    })
                })
                .await?;
            match granted {
                Ok((grant, expired)) => return Ok(EmbeddedGuard::new(grant, asked, expired)),
                Err(until) => {
                    tokio::select! {
                        _ = ended.changed() => {}
                        () = self.inner.options.clock.sleep_until(until) => {}
                    }
                }
            }
        }
    }
}

impl EmbeddedFleet {
    fn line(&self, repo: RepoId) -> Arc<tokio::sync::Mutex<()>> {
        let mut lines = self.inner.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() > LINES {
            sweep(&mut lines);
        }
        Arc::clone(lines.entry(repo).or_default())
    }

    /// How long a lease is good for on the local clock: less than what is stored, for what may happen between a check and the effect.
    fn hold(&self) -> Duration {
        let lease = self.inner.options.lease;
        lease.saturating_sub((lease / 10).max(Duration::from_millis(1)))
    }
}

fn sweep(lines: &mut HashMap<RepoId, Arc<tokio::sync::Mutex<()>>>) {
    lines.retain(|_, line| Arc::strong_count(line) > 1);
}

/// A lease in the store. Dropping it ends the lease.
#[derive(Debug)]
struct Grant {
    fleet: EmbeddedFleet,
    repo: RepoId,
    fence: i64,
}

impl Drop for Grant {
    fn drop(&mut self) {
        let (repo, fence) = (self.repo.get().cast_signed(), self.fence);
        self.fleet
            .inner
            .store
            .post("release a lock", move |session| session.end_lease(repo, fence));
    }
}

/// A held lock of the embedded fleet.
#[derive(Debug)]
pub struct EmbeddedGuard {
    grant: Grant,
    proofs: Proofs,
    standing: watch::Receiver<Standing>,
    renewal: Option<AbortHandle>,
}

/// How a lease stands, as its renewal knows it.
#[derive(Clone, Copy, Debug)]
struct Standing {
    deadline: Instant,
    lost: bool,
}

impl EmbeddedGuard {
    fn new(grant: Grant, asked: Instant, expired: bool) -> Self {
        let standing = Standing {
            deadline: if expired {
                asked
            } else {
                asked + grant.fleet.hold()
            },
            lost: expired,
        };
        let fence = Fence(grant.fence.cast_unsigned());
        let proofs = Proofs::issue(grant.repo, fence, standing.deadline);
        let (sender, standing) = watch::channel(standing);
        let renewal = (!expired).then(|| {
            // Its time is set here: the task itself may first run much later.
            let first = next_renewal(&grant.fleet);
            let renewal = renew(grant.fleet.clone(), grant.repo, grant.fence, first, sender);
            tokio::spawn(renewal).abort_handle()
        });
        Self {
            grant,
            proofs,
            standing,
            renewal,
        }
    }

    fn stop_renewing(&self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
    }
}

impl LockGuard for EmbeddedGuard {
    fn lease(&self) -> &Lease {
        let deadline = self.standing.borrow().deadline;
        self.proofs.with_deadline(deadline)
    }

    async fn lost(&self) {
        let mut standing = self.standing.clone();
        // An error means that nobody renews any more, which is as good as lost.
        drop(standing.wait_for(|standing| standing.lost).await);
    }

    async fn release(self) -> Result<(), LockError> {
        self.stop_renewing();
        let (repo, fence) = (self.grant.repo.get().cast_signed(), self.grant.fence);
        Ok(self
            .grant
            .fleet
            .inner
            .store
            .run(move |session| session.end_lease(repo, fence))
            .await?)
    }
}

impl Drop for EmbeddedGuard {
    fn drop(&mut self) {
        self.stop_renewing();
    }
}

/// A third of a lease from now.
fn next_renewal(fleet: &EmbeddedFleet) -> i64 {
    let options = &fleet.inner.options;
    options.clock.steady().saturating_add(millis(options.lease / 3))
}

/// Renews a lease at a third of its length, until it is lost.
async fn renew(
    fleet: EmbeddedFleet,
    repo: RepoId,
    fence: i64,
    mut at: i64,
    standing: watch::Sender<Standing>,
) {
    let options = &fleet.inner.options;
    let key = repo.get().cast_signed();
    loop {
        options.clock.sleep_until(at).await;
        at = next_renewal(&fleet);
        let asked = options.clock.instant();
        let left = standing.borrow().deadline.saturating_duration_since(asked);
        let renewed = tokio::select! {
            renewed = fleet.inner.store.run(move |session| session.renew(key, fence)) => renewed,
            () = options.clock.sleep(left) => Ok(false),
        };
        match renewed {
            Ok(true) => standing.send_modify(|standing| standing.deadline = asked + fleet.hold()),
            Ok(false) => break,
            // The store may recover before the lease is over.
            Err(error) if left > Duration::ZERO => {
                tracing::warn!(%repo, lock.fence = fence, %error, "a lease could not be renewed");
            }
            Err(_) => break,
        }
    }
    tracing::warn!(%repo, lock.fence = fence, "the lease of repository {repo} is lost");
    standing.send_modify(|standing| {
        standing.lost = true;
        standing.deadline = standing.deadline.min(options.clock.instant());
    });
}
