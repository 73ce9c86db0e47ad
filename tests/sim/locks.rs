//! The lock in memory: leases that run out under the dead and the frozen, a store that forgets, and one that grants what is held.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockflight_fleet::{BackendError, LockError, LockGuard, RepoLock};
use lockflight_promotion::{Fence, Lease, RepoId};
use tokio::time::{Instant, sleep, sleep_until};

use crate::process::{Hand, Kind, ProcessId};
use crate::weather::Sabotage;

const LEASE: Duration = Duration::from_secs(30);

/// For how long a holder that has just renewed its lease believes in it.
const BELIEF: Duration = Duration::from_secs(25);

#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: BTreeMap<RepoId, Held>,
    /// Since when nobody renews what these fences stand for.
    lost: BTreeMap<u64, Instant>,
    fences: u64,
}

#[derive(Debug)]
struct Held {
    fence: u64,
    by: ProcessId,
    /// Set once it is no longer renewed.
    ends: Option<Instant>,
}

impl Locks {
    fn held_by(&mut self, process: ProcessId) -> impl Iterator<Item = &mut Held> {
        self.held.values_mut().filter(move |held| held.by == process)
    }

    pub(crate) fn died(&mut self, process: ProcessId) {
        let ends = Instant::now() + LEASE;
        for held in self.held_by(process) {
            held.ends.get_or_insert(ends);
        }
    }

    pub(crate) fn frozen(&mut self, process: ProcessId, until: Instant) {
        let ends = Instant::now() + LEASE;
        if until <= ends {
            return;
        }
        for held in self.held_by(process) {
            held.ends.get_or_insert(ends);
        }
    }

    /// The store forgets everything. Its holders learn of it when they renew.
    pub(crate) fn wipe(&mut self) {
        let now = Instant::now();
        for (_, held) in std::mem::take(&mut self.held) {
            self.lost.insert(held.fence, now);
        }
    }

    fn grant(&mut self, repo: RepoId, process: ProcessId, shared: bool) -> Result<u64, Instant> {
        let now = Instant::now();
        if !shared && let Some(held) = self.held.get(&repo) {
            match held.ends {
                None => return Err(now + LEASE),
                Some(ends) if ends > now => return Err(ends),
                Some(ends) => {
                    self.lost
                        .insert(held.fence, ends.checked_sub(LEASE).unwrap_or(now));
                }
            }
        }
        self.fences += 1;
        let fence = self.fences;
        if !shared {
            let held = Held {
                fence,
                by: process,
                // Whoever gets the answer begins to renew it.
                ends: Some(now + LEASE),
            };
            self.held.insert(repo, held);
        }
        Ok(fence)
    }

    /// The holder has heard of it, and renews it from now on.
    fn renew(&mut self, repo: RepoId, fence: u64) {
        if let Some(held) = self.held.get_mut(&repo).filter(|held| held.fence == fence) {
            held.ends = None;
        }
    }

    /// Until when a holder believes in its lease.
    fn deadline(&self, repo: RepoId, fence: u64) -> Instant {
        let standing = self.held.get(&repo).filter(|held| held.fence == fence);
        if let Some(ends) = standing.and_then(|held| held.ends) {
            return ends.checked_sub(LEASE - BELIEF).unwrap_or(ends);
        }
        self.lost.get(&fence).map_or_else(Instant::now, |since| *since) + BELIEF
    }

    fn is_lost(&self, fence: u64) -> bool {
        self.lost.contains_key(&fence)
    }

    fn release(&mut self, repo: RepoId, fence: u64) {
        if self.held.get(&repo).is_some_and(|held| held.fence == fence) {
            self.held.remove(&repo);
        }
    }

    /// The release did not get through: the lease runs out by itself.
    fn forget(&mut self, repo: RepoId, fence: u64) {
        let ends = Instant::now() + LEASE;
        if let Some(held) = self.held.get_mut(&repo).filter(|held| held.fence == fence) {
            held.ends.get_or_insert(ends);
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SimLock(pub(crate) Hand);

#[derive(Debug)]
pub(crate) struct SimGuard {
    hand: Hand,
    repo: RepoId,
    fence: u64,
    released: bool,
    leases: Vec<OnceLock<Lease>>,
    issued: AtomicUsize,
}

impl RepoLock for SimLock {
    type Guard = SimGuard;

    async fn acquire(&self, repo: RepoId) -> Result<SimGuard, LockError> {
        let hand = &self.0;
        loop {
            let freed = hand.sim.signals().locks.notified();
            let mut freed = std::pin::pin!(freed);
            freed.as_mut().enable();
            let process = hand.process;
            let granted = hand
                .call(Kind::Own, "asks for the lock", move |world| {
                    let degraded = world.weather.degraded;
                    let shared =
                        world.weather.sabotage == Some(Sabotage::NoLock) || world.dice.chance(degraded);
                    world.locks.grant(repo, process, shared)
                })
                .await
                .map_err(|_fault| LockError::Backend(BackendError::new("simulated")))?;
            match granted {
                Ok(fence) => {
                    hand.sim.world().locks.renew(repo, fence);
                    return Ok(SimGuard {
                        hand: hand.clone(),
                        repo,
                        fence,
                        released: false,
                        leases: (0..64).map(|_| OnceLock::new()).collect(),
                        issued: AtomicUsize::new(0),
                    });
                }
                Err(until) => {
                    tokio::select! {
                        biased;
                        () = freed => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }
}

impl LockGuard for SimGuard {
    fn lease(&self) -> &Lease {
        let at = self
            .issued
            .fetch_add(1, Ordering::Relaxed)
            .min(self.leases.len() - 1);
        let slot = self.leases.get(at).unwrap();
        slot.get_or_init(|| {
            let world = self.hand.sim.world();
            let (now, deadline) = (Instant::now(), world.locks.deadline(self.repo, self.fence));
            // By the clock that the roles have.
            let mut by_clock = world.clock.instant() + deadline.saturating_duration_since(now);
            by_clock = by_clock
                .checked_sub(now.saturating_duration_since(deadline))
                .unwrap_or(by_clock);
            Lease::issue(self.repo, Fence(self.fence), by_clock)
        })
    }

    async fn lost(&self) {
        while !self.hand.sim.world().locks.is_lost(self.fence) {
            sleep(LEASE / 3).await;
        }
    }

    async fn release(mut self) -> Result<(), LockError> {
        let (repo, fence) = (self.repo, self.fence);
        let told = self
            .hand
            .call(Kind::Own, "gives the lock back", move |world| {
                world.locks.release(repo, fence);
            })
            .await;
        self.released = true;
        self.hand.sim.signals().locks.notify_waiters();
        if told.is_err() {
            self.hand.sim.world().locks.forget(repo, fence);
            return Err(LockError::Backend(BackendError::new("simulated")));
        }
        Ok(())
    }
}

impl Drop for SimGuard {
    fn drop(&mut self) {
        if self.released || self.hand.is_dead() {
            return;
        }
        self.hand.sim.world().locks.release(self.repo, self.fence);
        self.hand.sim.signals().locks.notify_waiters();
    }
}
