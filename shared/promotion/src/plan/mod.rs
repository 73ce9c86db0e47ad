//! From a change and a policy to the pull requests that promote it.
//!
//! [`reads`] says what has to be read from the merge commit, the planner reads it into [`Facts`], and [`plan`] decides. The rules
//! are numbered as in the promotion model (`docs/promotion-model.md`).

mod candidates;
mod decide;
mod names;
mod steps;
mod trace;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::policy::{ComponentPolicy, Policy};
use crate::{BranchName, ErrorClass, Location, PathInRepo, PlanId, StepId, TreeOid};
use trace::Trace;

/// All that a plan is made of, read at the change's merge commit.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The change.
    pub change: Change,
    /// The paths that it touched, old and new ones of a rename alike, as git has them (lossy where they are not UTF-8).
    pub changed: Vec<String>,
    /// What stood at each path of [`Reads::entries`].
    pub entries: BTreeMap<PathInRepo, Entry>,
    /// The policy file of each component of [`Reads::component_policies`] that has one: the key is the component's source path.
    /// Read at the merge commit, or at its first parent where the change removed the component.
    pub component_policies: BTreeMap<PathInRepo, ComponentPolicy>,
}

/// What stands at a path of a commit. Absence is something that was read, never a failure to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A directory.
    Tree(TreeOid),
    /// The tree above it was read and has no such entry.
    Absent,
    /// A file, a symlink or a submodule stands there, or above it.
    NotADirectory,
}

/// What has to be read before a plan can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Paths whose [`Entry`] is needed: components at their source and at each target.
    pub entries: BTreeSet<PathInRepo>,
    /// Components (their source paths) whose policy file is needed.
    pub component_policies: BTreeSet<PathInRepo>,
}

/// What to do about a change. The same facts make the same plan, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The hash of everything below.
    pub id: PlanId,
    /// The pull requests to open, in policy order.
    pub steps: Vec<Step>,
    /// What no step will do, though a flow led there: each also stands in its step where there is one.
    pub skipped: Vec<Skipped>,
    /// What people should know of how the plan came about, such as two sources for one target.
    pub notes: Vec<String>,
    /// Whether the policy asks for a comment in place of pull requests.
    pub dry_run: bool,
    /// Whether a second identity approves the pull requests.
    pub approve: bool,
    /// How many of the changed paths lay in some component of some flow.
    pub matched_paths: usize,
}

/// One pull request of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The hash of everything below.
    pub id: StepId,
    /// The flow it follows.
    pub flow: FlowRef,
    /// The pattern of the source location, without a slash at its end.
    pub source: String,
    /// Where it leads, in the order of the policy.
    pub targets: Vec<Location>,
    /// What the targets are called, for people.
    pub description: String,
    /// The names of the components that it carries, sorted.
    pub components: Vec<String>,
    /// What becomes of each component at each target. Never empty.
    pub sync: Vec<Sync>,
    /// What was left out and why.
    pub skipped: Vec<Skipped>,
    /// Whether the policy wants it merged as soon as GitHub allows.
    pub auto_merge: bool,
    /// The pull request's title, at most 250 characters.
    pub title: String,
    /// The branch it comes from.
    pub branch: BranchName,
}

/// Which flow of which policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowRef {
    /// The policy file's path.
    pub file: String,
    /// Its place among the flows, from 0.
    pub index: usize,
    /// The line that it begins on, from 1.
    pub line: usize,
}

/// One component at one target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sync {
    /// The component at its source.
    pub from: PathInRepo,
    /// The component at the target.
    pub to: PathInRepo,
    /// The tree that the target shall have; none if it shall be gone.
    pub tree: Option<TreeOid>,
}

/// A component that does not go to a target, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Skipped {
    /// The component's name.
    pub component: String,
    /// Its path at the target.
    pub target: PathInRepo,
    /// Why, with file and line where a policy says so.
    pub reason: String,
}

/// Why no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An entry of [`Reads::entries`] is not among the facts. A plan is never guessed.
    #[error("{0} was not read, so no plan can be made; read every path that `reads` names")]
    MissingFact(PathInRepo),
    /// The plan could not be written down to be hashed.
    #[error("the plan could not be hashed")]
    Hash(#[source] serde_json::Error),
}

impl PlanError {
    /// Both are mistakes of the caller or of this crate.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Bug
    }
}

/// What has to be read at the merge commit before [`plan`] can decide about a change that touched `changed`.
#[must_use]
pub fn reads(policy: &Policy, change: &Change, changed: &[String]) -> Reads {
    let trace = Trace::of(policy, change, changed);
    let (candidates, _) = candidates::of(policy, &trace);
    let mut entries = Vec::with_capacity(candidates.len() + trace.components.len());
    let mut components: Vec<PathInRepo> = Vec::with_capacity(trace.components.len());
    for candidate in candidates {
        entries.push(candidate.to);
        // Candidates of one component come one after the other.
        if components.last() != Some(&*candidate.from) {
            entries.push(PathInRepo::clone(&candidate.from));
            components.push(PathInRepo::clone(&candidate.from));
        }
    }
    Reads {
        entries: entries.into_iter().collect(),
        component_policies: components.into_iter().collect(),
    }
}

/// Decides what to do about a change. The same facts make the same plan, byte for byte, in whatever order the paths come.
///
/// # Errors
/// When an entry that [`reads`] named is not among the facts.
pub fn plan(policy: &Policy, facts: &Facts) -> Result<Plan, PlanError> {
    let trace = Trace::of(policy, &facts.change, &facts.changed);
    let (candidates, refused) = candidates::of(policy, &trace);
    let decided = decide::decide(candidates, refused, facts)?;
    steps::assemble(policy, facts, &trace, decided)
}

#[cfg(test)]
mod tests;
