//! What people have decided, where no look attends a change from wave to wave: each step, merge and report then looks for itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::Failure;
use lockflight_forge::port::ForgePort;
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::change::Change;
use lockflight_promotion::control::ControlsRead;
use lockflight_promotion::plan::Step;
use lockflight_promotion::rollback::{Rollback, WayBackRead};
use lockflight_promotion::{ErrorClass, PrNumber, RepoId};

use crate::Executor;
use crate::holds::{HELD_EVERY_S, Holds};
use crate::waves::is_skipped;

/// What is held is looked at again after this time at the latest. A release leads to another look at once.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// What is known of the changes of a batch.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    controls: BTreeMap<(RepoId, PrNumber), ControlsRead>,
    holds: BTreeMap<RepoId, Holds>,
}

impl Decided {
    /// The rollback by which all steps of a change were taken back; none if some were not.
    pub(crate) fn taken_back(&self, change: &Change, steps: &[Step]) -> Option<&Rollback> {
        let controls = self.controls.get(&(change.repo.id, change.number))?;
        let mut last = None;
        for step in steps {
            last = Some(controls.taken_back(change, step)?);
        }
        last
    }
}

/// What keeps a step from being opened or merged.
pub(crate) enum Restraint {
    /// It is held, for this reason, for so long at least.
    Held { why: String, wait: Duration },
    /// It is left out.
    Skipped,
}

impl Restraint {
    /// What becomes of work that is held: it comes again, and that counts as no failure.
    pub(crate) fn failure(why: String, wait: Duration) -> Failure {
        Failure::new(ErrorClass::RetryAfter(wait), why)
    }
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// What keeps a step of a change from being opened or merged now; none if nothing does. What `decided` knows is not asked for again.
    pub(crate) async fn restraint(
        &self,
        change: &Change,
        step: &Step,
        decided: &mut Decided,
    ) -> Result<Option<Restraint>, Failure> {
        let key = (change.repo.id, change.number);
        let controls = match decided.controls.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => {
                let client = self.forge.repository(&change.repo).await?;
                slot.insert(self.controls(&client, change).await?)
            }
        };
        let now_s = self.clock.time_of_day() / 1_000;
        let hindrance = match &change.rollback {
            Some(back) => match controls.way_back(back) {
                WayBackRead::Over => return Ok(Some(Restraint::Skipped)),
                WayBackRead::Hindered => controls.hindrance(now_s),
                WayBackRead::Stands(rollback) => controls.hinders_way_back(rollback, now_s),
            },
            None if is_skipped(controls, step) || controls.taken_back(change, step).is_some() => {
                return Ok(Some(Restraint::Skipped));
            }
            None => controls.hindrance(now_s),
        };
        if let Some(hindrance) = hindrance {
            return Ok(Some(Restraint::Held {
                why: hindrance.sentence(),
                wait: hindrance.until_s().map_or(LONGEST_WAIT, |until| {
                    let left = u64::try_from(until.saturating_sub(now_s)).unwrap_or_default();
                    Duration::from_secs(left.saturating_add(1)).min(LONGEST_WAIT)
                }),
            }));
        }
        if change.rollback.is_some() {
            return Ok(None);
        }
        let holds = match decided.holds.entry(change.repo.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => {
                let client = self.forge.repository(&change.repo).await?;
                slot.insert(self.holds(&client).await?)
            }
        };
        let age = u64::try_from(now_s.saturating_sub(change.committed_at)).unwrap_or_default();
        let longest = Duration::from_secs(HELD_EVERY_S);
        Ok(holds.of(change, step).map(|what| Restraint::Held {
            why: format!("Waiting for {what}"),
            // Nobody tells of a release.
            wait: Duration::from_secs(age / 10).clamp(self.config.merge_poll.min(longest), longest),
        }))
    }
}
