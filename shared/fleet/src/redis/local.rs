//! What keeps order within this process, with or without Redis.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockflight_promotion::{Fence, RepoId};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Repositories that nobody works on are swept away once there are more than this.
const SLOTS: usize = 1_024;

/// One place per repository, and a few for work without locks.
///
/// Whoever has a lock of Redis also takes the repository's slot, so that this process never works twice on a repository, whatever
/// Redis did in between.
#[derive(Debug)]
pub(super) struct Local {
    slots: Mutex<HashMap<RepoId, Arc<tokio::sync::Mutex<()>>>>,
    permits: Arc<Semaphore>,
    fences: Mutex<HashMap<RepoId, u64>>,
}

/// The right to be the one in this process who works on a repository.
pub(super) type Slot = OwnedMutexGuard<()>;

impl Local {
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            slots: Mutex::default(),
            permits: Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))),
            fences: Mutex::default(),
        }
    }

    /// Waits for a repository's slot, first come first served.
    pub(super) async fn slot(&self, repo: RepoId) -> Slot {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            if slots.len() > SLOTS {
                slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
            Arc::clone(slots.entry(repo).or_default())
        };
        slot.lock_owned().await
    }

    /// Waits for the right to work without a lock; `None` is impossible, since nobody closes the semaphore.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// The greatest fence of a repository that this process has had. A Redis that has lost its memory is told.
    pub(super) fn floor(&self, repo: RepoId) -> u64 {
        let fences = self.fences.lock().unwrap_or_else(PoisonError::into_inner);
        fences.get(&repo).copied().unwrap_or(0)
    }

    /// Remembers a fence.
    pub(super) fn had(&self, repo: RepoId, fence: Fence) {
        let mut fences = self.fences.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = fences.entry(repo).or_default();
        *floor = fence.0.max(*floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slot_is_for_one_and_unused_ones_are_forgotten() {
        let local = Local::new(1);
        let held = local.slot(RepoId::new(0)).await;
        let quiet = std::time::Duration::from_millis(20);
        assert!(
            tokio::time::timeout(quiet, local.slot(RepoId::new(0)))
                .await
                .is_err()
        );
        for n in 1..=(SLOTS as u64 + 10) {
            drop(local.slot(RepoId::new(n)).await);
        }
        assert!(local.slots.lock().unwrap().len() <= SLOTS + 1);
        assert!(
            tokio::time::timeout(quiet, local.slot(RepoId::new(0)))
                .await
                .is_err()
        );
        drop(held);
        drop(local.slot(RepoId::new(0)).await);
    }

    #[test]
    fn the_greatest_fence_is_remembered() {
        let local = Local::new(1);
        let repo = RepoId::new(7);
        assert_eq!(local.floor(repo), 0);
        local.had(repo, Fence(5));
        local.had(repo, Fence(3));
        assert_eq!(local.floor(repo), 5);
    }
}
