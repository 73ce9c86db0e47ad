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
use lockflight_promotion::{ErrorClass, PrNumber, RepoId};

use crate::Executor;
use crate::waves::is_skipped;

/// What is held is looked at again after this time at the latest. A release leads to another look at once.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// What is known of the changes of a batch.
pub(crate) type Decided = BTreeMap<(RepoId, PrNumber), ControlsRead>;

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
        let controls = match decided.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => {
                let client = self.forge.repository(&change.repo).await?;
                slot.insert(self.controls(&client, change).await?)
            }
        };
        if is_skipped(controls, step) {
            return Ok(Some(Restraint::Skipped));
        }
        let now_s = self.clock.time_of_day() / 1_000;
        Ok(controls.hindrance(now_s).map(|hindrance| Restraint::Held {
            why: hindrance.sentence(),
            wait: hindrance.until_s().map_or(LONGEST_WAIT, |until| {
                let left = u64::try_from(until.saturating_sub(now_s)).unwrap_or_default();
                Duration::from_secs(left.saturating_add(1)).min(LONGEST_WAIT)
            }),
        }))
    }
}
