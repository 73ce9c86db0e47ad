//! The way back: what stood before a change is promoted in its place, and stays until people let it go.
//!
//! A rollback goes the way of the change, by the same targets, waves and gates, with the content of the commit before it. It is planned as a change of its
//! own, so that it shares no branch, pull request or status with the way there. What was rolled back stands in the change's
//! [`Controls`], and nowhere else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::change::{Change, hex};
use crate::command::closest;
use crate::control::{Controls, ControlsRead, Hindrance, Refused};
use crate::plan::{Plan, Step, Sync};
use crate::text::markdown;
use crate::{BranchName, CommitOid, Login, PathInRepo, PrNumber, RepoId};

/// The most components at targets that are rolled back of one change.
pub const PARTS_LIMIT: usize = 600;
/// The most rollbacks of one change.
const LIMIT: usize = 8;
/// What the names of the refs begin with by which changes are found that hold targets.
pub const HOLDS: &str = "lockflight/holds/";

/// What a change takes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// The place of its [`Rollback`] among those of the change, from 0.
    pub place: usize,
    /// The commit that carries the change that is taken back.
    pub of: CommitOid,
    /// Who asked for it.
    pub by: Login,
    /// Why; may be empty.
    pub reason: String,
}

/// A rollback that people asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The target as it was named; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Which components at which targets: [`part`] of each, sorted.
    pub parts: Vec<String>,
    /// Who asked for it.
    pub by: Login,
    /// Whose account that is.
    pub user_id: u64,
    /// Why; may be empty.
    pub reason: String,
    /// When, in seconds since 1970 UTC.
    pub at_s: i64,
    /// When it was let go, in seconds since 1970 UTC; none if it holds its targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_s: Option<i64>,
}

/// One component at one target: 12 hexadecimal digits.
#[must_use]
pub fn part(repo: RepoId, branch: &BranchName, path: &PathInRepo) -> String {
    let digest = Sha256::digest(format!("lockflight:part:{repo}\0{branch}\0{path}"));
    hex(&digest).chars().take(12).collect()
}

/// The parts of a step.
pub fn parts<'s>(change: &'s Change, step: &'s Step) -> impl Iterator<Item = String> + 's {
    step.sync.iter().map(|sync| part_of(change, step, sync))
}

fn part_of(change: &Change, step: &Step, sync: &Sync) -> String {
    part(step.repo(change).id, step.base(change), &sync.to)
}

impl Rollback {
    /// Whether its targets are held.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.released_s.is_none()
    }

    /// Whether something that a step brings is among what it brought back.
    #[must_use]
    pub fn meets(&self, change: &Change, step: &Step) -> bool {
        parts(change, step).any(|part| self.parts.binary_search(&part).is_ok())
    }

    /// Who did it and why, to follow "rolled back".
    #[must_use]
    pub fn by_and_why(&self) -> String {
        if self.reason.is_empty() {
            format!("by {}", self.by)
        } else {
            format!("by {}: {}", self.by, markdown::one_line(&self.reason))
        }
    }

    /// The same without what others hold already.
    pub(crate) fn beside(mut self, others: &[Self]) -> Result<Self, Refused> {
        if others.len() >= LIMIT {
            return Err(Refused::TooMany("rollbacks"));
        }
        self.parts.sort_unstable();
        self.parts.dedup();
        self.parts.retain(|part| {
            let mut held = others.iter().filter(|other| other.holds());
            !held.any(|other| other.parts.binary_search(part).is_ok())
        });
        if self.parts.is_empty() {
            return Err(Refused::RolledBack);
        }
        let stands: usize = others.iter().map(|other| other.parts.len()).sum();
        if stands + self.parts.len() > PARTS_LIMIT {
            return Err(Refused::TooManyParts);
        }
        Ok(self)
    }
}

/// Whether what takes a change back is still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayBackRead<'c> {
    /// It is wanted.
    Stands(&'c Rollback),
    /// It was let go, and so nothing more of it is done.
    Over,
    /// It can't be told.
    Hindered,
}

impl ControlsRead {
    /// All that was ever rolled back, oldest first.
    #[must_use]
    pub fn rollbacks(&self) -> &[Rollback] {
        match self {
            Self::Valid(controls) => &controls.rollbacks,
            Self::Absent | Self::Forged => &[],
        }
    }

    /// Whether targets are held, or might be.
    #[must_use]
    pub fn holds_targets(&self) -> bool {
        *self == Self::Forged || self.rollbacks().iter().any(Rollback::holds)
    }

    /// The rollback that ended what a step would do for its own change; none if none did. A release does not bring the step back: newer changes
    /// carry its content along.
    #[must_use]
    pub fn taken_back(&self, change: &Change, step: &Step) -> Option<&Rollback> {
        self.rollbacks()
            .iter()
            .rev()
            .find(|rollback| rollback.meets(change, step))
    }

    /// What is known of what takes the change back.
    #[must_use]
    pub fn way_back(&self, back: &WayBack) -> WayBackRead<'_> {
        if *self == Self::Forged {
            return WayBackRead::Hindered;
        }
        match self.rollbacks().get(back.place) {
            Some(rollback) if rollback.holds() => WayBackRead::Stands(rollback),
            Some(_) | None => WayBackRead::Over,
        }
    }

    /// Why nothing more of a rollback is opened or merged at `now_s`, in seconds since 1970 UTC; none if nothing hinders it. What people said of the
    /// change before they asked for the rollback does not hinder it.
    #[must_use]
    pub fn hinders_way_back(&self, rollback: &Rollback, now_s: i64) -> Option<Hindrance<'_>> {
        let Self::Valid(controls) = self else {
            return self.hindrance(now_s);
        };
        let Controls { holds, aborted, .. } = &**controls;
        let aborted = aborted.as_ref().filter(|abort| abort.at_s > rollback.at_s);
        let held = holds
            .iter()
            .filter(|hold| hold.since_s > rollback.at_s && hold.until_s.is_none_or(|until| until > now_s))
            .max_by_key(|hold| hold.until_s.unwrap_or(i64::MAX));
        aborted
            .map(Hindrance::Aborted)
            .or_else(|| held.map(Hindrance::Held))
    }
}

/// What a named target of a plan comes to: its parts. None named, all.
///
/// # Errors
/// When nothing of the plan is called so: a sentence or two in Markdown on what is.
pub fn named(change: &Change, plan: &Plan, target: Option<&str>) -> Result<Vec<String>, String> {
    if plan.steps.is_empty() {
        return Err(
            "It was not done: this change leads to no target, so there is nothing to roll back.".to_owned(),
        );
    }
    let mut found = BTreeSet::new();
    let mut names = BTreeSet::new();
    for step in &plan.steps {
        names.insert(step.description.as_str());
        let is_all = target.is_none_or(|target| is_within(&step.description, target));
        if is_all {
            found.extend(parts(change, step));
            continue;
        }
        for place in &step.targets {
            let path = place.path.as_str();
            if path.is_empty() {
                continue;
            }
            names.insert(path);
            if target.is_some_and(|target| is_within(path, target)) {
                let there = step.sync.iter().filter(|sync| sync.to.is_within(&place.path));
                found.extend(there.map(|sync| part_of(change, step, sync)));
            }
        }
    }
    if !found.is_empty() {
        return Ok(found.into_iter().collect());
    }
    let target = target.unwrap_or_default();
    let meant = closest(target, names.iter().copied().chain(["all"]))
        .map(|meant| format!(" Did you mean {}?", markdown::code(meant)))
        .unwrap_or_default();
    let listed: Vec<_> = names.iter().take(20).map(|name| markdown::code(name)).collect();
    Err(format!(
        "It was not done: this change has no target {}.{meant} It leads to {}; `all` stands for every target.",
        markdown::code(target),
        listed.join(", "),
    ))
}

/// Whether a name is what was named, or below that.
fn is_within(name: &str, named: &str) -> bool {
    name.strip_prefix(named)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The ref by which others find that a change holds targets, without the `refs/` that it begins with.
#[must_use]
pub fn hold_ref(number: PrNumber) -> String {
    format!("{HOLDS}{number}")
}

/// The change that a ref of [`hold_ref`] tells of.
#[must_use]
pub fn holder(name: &str) -> Option<PrNumber> {
    let number = name.strip_prefix(HOLDS)?;
    number.parse().ok().map(PrNumber::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::sample;

    fn rollback(parts: &[&str]) -> Rollback {
        Rollback {
            target: None,
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
            by: Login::parse("mona").unwrap(),
            user_id: 1,
            reason: String::new(),
            at_s: 0,
            released_s: None,
        }
    }

    #[test]
    fn a_target_is_named_by_its_path_by_what_it_is_called_or_not_at_all() {
        let (change, plan) = (sample::change(), sample::plan());
        let all = named(&change, &plan, None).unwrap();
        let every: BTreeSet<String> = plan.steps.iter().flat_map(|step| parts(&change, step)).collect();
        assert_eq!(all, every.into_iter().collect::<Vec<_>>());
        let step = &plan.steps[0];
        let of_step: BTreeSet<String> = parts(&change, step).collect();
        let path = step.targets[0].path.as_str();
        for target in [step.description.as_str(), path, path.split_once('/').unwrap().0] {
            let found = named(&change, &plan, Some(target)).unwrap();
            assert!(found.iter().any(|part| of_step.contains(part)), "{target}");
        }
        let wrong = format!("{}x", step.description);
        let refused = named(&change, &plan, Some(&wrong)).unwrap_err();
        assert!(
            refused.contains(&step.description) && refused.contains("`all`"),
            "{refused}"
        );
    }

    #[test]
    fn a_step_meets_what_is_held_of_the_same_component_at_the_same_target() {
        let (change, plan) = (sample::change(), sample::plan());
        let step = &plan.steps[0];
        let held: Vec<String> = parts(&change, step).collect();
        let mut held = rollback(&held.iter().map(String::as_str).collect::<Vec<_>>());
        held.parts.sort_unstable();
        assert!(held.meets(&change, step));
        let mut elsewhere = step.clone();
        elsewhere.base = Some(BranchName::parse("another").unwrap());
        assert!(!held.meets(&change, &elsewhere));
        assert!(!rollback(&[]).meets(&change, step));
    }

    #[test]
    fn what_is_held_already_is_not_rolled_back_again_until_it_is_let_go() {
        let first = rollback(&["a", "b"]);
        assert_eq!(
            rollback(&["a"]).beside(std::slice::from_ref(&first)),
            Err(Refused::RolledBack)
        );
        let more = rollback(&["c", "b", "c"])
            .beside(std::slice::from_ref(&first))
            .unwrap();
        assert_eq!(more.parts, ["c"]);
        let released = Rollback {
            released_s: Some(1),
            ..first
        };
        assert_eq!(
            rollback(&["a"])
                .beside(std::slice::from_ref(&released))
                .unwrap()
                .parts,
            ["a"]
        );
        assert_eq!(
            rollback(&["z"]).beside(&vec![released; LIMIT]),
            Err(Refused::TooMany("rollbacks"))
        );
        let many: Vec<String> = (0..=PARTS_LIMIT).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(rollback(&many).beside(&[]), Err(Refused::TooManyParts));
    }
}
