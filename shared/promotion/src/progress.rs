//! How far the waves of a flow are: worked out from what is seen of its steps, and never remembered.

use crate::PrNumber;
use crate::plan::{PlannedFlow, PlannedWave};
use crate::policy::After;

/// What is seen of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its pull request is merged.
    Merged {
        /// The pull request.
        number: PrNumber,
        /// When, in seconds since 1970 UTC.
        at: i64,
    },
    /// Its targets have the content, or later content of the same source, without a pull request.
    Carried,
    /// People said that it is left out.
    Skipped,
    /// Its pull request is open.
    Open {
        /// The pull request.
        number: PrNumber,
    },
    /// Its pull request was closed by people.
    Closed {
        /// The pull request.
        number: PrNumber,
    },
    /// A newer change carries it on, so that nothing of it is left to be done here, nor in what comes after.
    Superseded {
        /// The pull request of that change.
        by: PrNumber,
    },
    /// It can't be done, and has told why.
    Stopped,
    /// It has no pull request, and needs one.
    Unopened,
}

impl Seen {
    /// Whether nothing of it is left to be done.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Merged { .. } | Self::Carried | Self::Skipped)
    }

    /// Whether it will never be over, unless people do something about it.
    #[must_use]
    pub const fn is_stuck(self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Stopped)
    }
}

impl PlannedFlow {
    /// Whether a wave may begin, when these waves are done, by their place.
    #[must_use]
    pub fn may_begin(&self, wave: usize, done: &[bool]) -> bool {
        let is_done = |wave: &usize| done.get(*wave).copied().unwrap_or(false);
        self.waves.get(wave).is_some_and(|wave| match &wave.after {
            After::All(before) => before.iter().all(is_done),
            After::Any(before) => before.is_empty() || before.iter().any(is_done),
        })
    }
}

impl PlannedWave {
    /// When the wave has stood for as long as it has to, in seconds since 1970 UTC; none if it need not. The clock runs from the merge of
    /// the last of its steps; what was carried already, or left out, starts none.
    #[must_use]
    pub fn soaked_at(&self, seen: &[Seen]) -> Option<i64> {
        let soak = i64::try_from(self.gates.soak_s?).unwrap_or(i64::MAX);
        let merged = seen.iter().filter_map(|seen| match seen {
            Seen::Merged { at, .. } => Some(*at),
            Seen::Carried
            | Seen::Skipped
            | Seen::Open { .. }
            | Seen::Closed { .. }
            | Seen::Superseded { .. }
            | Seen::Stopped
            | Seen::Unopened => None,
        });
        merged.max().map(|last| last.saturating_add(soak))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Gates;
    use crate::plan::FlowRef;

    fn flow(afters: &[After]) -> PlannedFlow {
        let waves = afters.iter().map(|after| PlannedWave {
            name: "wave".to_owned(),
            after: after.clone(),
            gates: Gates::default(),
            freezes: Vec::new(),
            blocked: None,
        });
        PlannedFlow {
            flow: FlowRef {
                file: "lockflight.yaml".to_owned(),
                index: 0,
                line: 1,
            },
            name: None,
            waves: waves.collect(),
        }
    }

    #[test]
    fn a_wave_begins_when_those_before_it_are_done() {
        let all = flow(&[After::default(), After::All(vec![0]), After::All(vec![0, 1])]);
        assert!(all.may_begin(0, &[false, false, false]));
        assert!(!all.may_begin(1, &[false, true, false]));
        assert!(all.may_begin(1, &[true, false, false]));
        assert!(!all.may_begin(2, &[true, false, false]));
        assert!(all.may_begin(2, &[true, true, false]));
        assert!(!all.may_begin(3, &[true, true, true]), "there is no such wave");
        let any = flow(&[After::default(), After::default(), After::Any(vec![0, 1])]);
        assert!(any.may_begin(1, &[]));
        assert!(!any.may_begin(2, &[false, false, false]));
        assert!(any.may_begin(2, &[false, true, false]));
    }

    #[test]
    fn a_wave_soaks_from_the_merge_of_its_last_step() {
        let mut flow = flow(&[After::default()]);
        let wave = &mut flow.waves[0];
        let merged = |at| Seen::Merged {
            number: PrNumber::new(1),
            at,
        };
        assert_eq!(wave.soaked_at(&[merged(5)]), None);
        wave.gates.soak_s = Some(60);
        assert_eq!(
            wave.soaked_at(&[merged(5), merged(100), Seen::Carried]),
            Some(160)
        );
        assert_eq!(wave.soaked_at(&[Seen::Carried, Seen::Skipped]), None);
        assert_eq!(wave.soaked_at(&[merged(i64::MAX)]), Some(i64::MAX));
    }
}
