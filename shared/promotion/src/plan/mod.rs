//! From a change and a policy to the pull requests that promote it.
//!
//! [`reads`] says what has to be read from the merge commit, the planner reads it into [`Facts`], and [`plan`] decides. The rules
//! are numbered as in the promotion model (`docs/promotion-model.md`).

mod candidates;
mod clashes;
mod compare;
mod decide;
mod explain;
mod names;
mod steps;
mod trace;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::change::{Change, Repository};
use crate::gate::{Freeze, Gates};
use crate::policy::{After, ComponentPolicy, Policy};
use crate::rollback::part;
use crate::track::Track;
use crate::values::KeyPath;
use crate::{
    Base, BlobOid, BranchName, ErrorClass, InvalidGlob, Location, PathInRepo, PlanId, Selection, StepId,
    TreeOid,
};
use candidates::Reach;
use trace::Trace;

pub use explain::{ExplainedFlow, ExplainedTarget, Explanation, Fate, Rule, components_of, explain};
pub use names::BRANCHES;

/// All that a plan is made of: what is true of the change, and what stands where it may go.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The change.
    pub change: Change,
    /// The paths that it touched, old and new ones of a rename alike, as git has them (lossy where they are not UTF-8).
    pub changed: Vec<String>,
    /// What was read at each base of [`Reads::at`], as the change sees it: the default base is its merge commit.
    pub at: BTreeMap<Base, Found>,
    /// The policy file of each component of [`Reads::component_policies`] that has one: the key is the component's source path.
    /// Read at the merge commit, or at its first parent where the change removed the component.
    pub component_policies: BTreeMap<PathInRepo, ComponentPolicy>,
}

impl Facts {
    /// The facts of a change whose way ends in the branch that it was merged into, and carries whole components.
    #[must_use]
    pub fn at_merge_commit(
        change: Change,
        changed: Vec<String>,
        entries: BTreeMap<PathInRepo, Entry>,
        component_policies: BTreeMap<PathInRepo, ComponentPolicy>,
    ) -> Self {
        let content = Content {
            entries,
            ..Content::default()
        };
        Self {
            change,
            changed,
            at: BTreeMap::from([(Base::default(), Found::Content(content))]),
            component_policies,
        }
    }
}

/// What was read at one base.
#[derive(Clone, Debug)]
pub enum Found {
    /// What stands there.
    Content(Content),
    /// There is no such repository or branch, or it may not be read: why, for people.
    Unreachable(String),
}

/// What stands in one commit.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The repository, if it is another one than the change's.
    pub repo: Option<Repository>,
    /// The branch, if it is another one than the change's.
    pub branch: Option<BranchName>,
    /// What stood at each path of [`ReadsAt::entries`].
    pub entries: BTreeMap<PathInRepo, Entry>,
    /// The files below each path of [`ReadsAt::listings`].
    pub listings: BTreeMap<PathInRepo, Listing>,
    /// The files of [`ReadsAt::files`].
    pub files: BTreeMap<PathInRepo, File>,
}

/// The files below a directory, by their path relative to it, byte for byte as git has it.
pub type Listing = BTreeMap<Vec<u8>, ListedFile>;

/// One file of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Git's mode: `0o100644`, `0o100755`, `0o120000` for a symlink, `0o160000` for a submodule.
    pub mode: u32,
    /// The id of its content, in hexadecimal.
    pub id: String,
}

/// A file whose keys are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// Its text.
    Text {
        /// The id of the content.
        blob: BlobOid,
        /// The content.
        text: String,
    },
    /// The directory above it was read and has no such entry.
    Absent,
    /// It is there and can't be read as text: why, for people.
    Unreadable(String),
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
    /// What has to be read at each base, as the change sees it: the default base is its merge commit, any other is a branch as it is now.
    pub at: BTreeMap<Base, ReadsAt>,
    /// Components (their source paths) whose policy file is needed.
    pub component_policies: BTreeSet<PathInRepo>,
}

/// What has to be read at one base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadsAt {
    /// Paths whose [`Entry`] is needed: components at their source and at each target.
    pub entries: BTreeSet<PathInRepo>,
    /// Directories whose [`Listing`] is needed, where not all of a component travels. One that is absent has an empty one.
    pub listings: BTreeSet<PathInRepo>,
    /// Files whose text is needed, where only keys travel.
    pub files: BTreeSet<PathInRepo>,
}

/// What to do about a change. The same facts make the same plan, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The hash of everything below.
    pub id: PlanId,
    /// The pull requests to open, in policy order.
    pub steps: Vec<Step>,
    /// The flows that the steps follow, in policy order; none where none of them has gates or more than one wave, so that all steps go at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<PlannedFlow>,
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
    /// The hash of everything below but its track.
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
    /// The repository that it is opened in, if that is another one than the change's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<Repository>,
    /// The branch that it is merged into, if that is another one than the change's, or in another repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BranchName>,
    /// Its wave, from 0: the place among the waves of its flow.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wave: usize,
    /// The track that it is on, where a newer change takes the place of an older one; none where each stands for itself. It is no part of what
    /// the step does, and so not of its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<Track>,
}

impl Step {
    /// The repository that its pull request is opened in.
    #[must_use]
    pub fn repo<'a>(&'a self, change: &'a Change) -> &'a Repository {
        self.repo.as_ref().unwrap_or(&change.repo)
    }

    /// The branch that its pull request is merged into.
    #[must_use]
    pub fn base<'a>(&'a self, change: &'a Change) -> &'a BranchName {
        self.base.as_ref().unwrap_or(&change.branch)
    }

    /// Whether it leads to another branch, or another repository, than the change was merged into.
    #[must_use]
    pub const fn leads_elsewhere(&self) -> bool {
        self.repo.is_some() || self.base.is_some()
    }

    /// Whether its commit is made on what stands at its target now, and not on the commit of the change.
    #[must_use]
    pub const fn is_made_on_target(&self, change: &Change) -> bool {
        self.leads_elsewhere() || change.rollback.is_some()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde calls it")]
const fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// One flow that a plan follows, with all of its waves, those included that nothing goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFlow {
    /// Where the policy says so.
    pub flow: FlowRef,
    /// What the policy calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its waves. The steps of each are those with its place.
    pub waves: Vec<PlannedWave>,
}

impl PlannedFlow {
    /// Whether it has one wave that waits for nothing, as all of Telefonistka's have.
    fn is_simple(&self) -> bool {
        let waits = |wave: &PlannedWave| !wave.gates.are_none() || !wave.freezes.is_empty();
        self.waves.len() <= 1 && !self.waves.iter().any(waits)
    }
}

/// One wave of a flow, as a plan has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedWave {
    /// What people call it.
    pub name: String,
    /// What must be done before it begins.
    #[serde(default)]
    pub after: After,
    /// What must hold before what comes after it begins.
    #[serde(default, skip_serializing_if = "Gates::are_none")]
    pub gates: Gates,
    /// When nothing may go there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// Why some of it can't be reached, so that it can't be done; none if all can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
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
    /// The tree that the target shall have; none if it shall be gone, or if only keys travel.
    pub tree: Option<TreeOid>,
    /// Which files of the tree travel; the others stay as they are at the target.
    #[serde(default, skip_serializing_if = "Selection::is_everything")]
    pub selection: Selection,
    /// The keys that travel from the file `from` to the file `to`; none where directories do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
}

/// Keys of a file that are set in another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Keys {
    /// The content that they are taken from.
    pub blob: BlobOid,
    /// The keys.
    pub keys: Vec<KeyPath>,
}

/// What becomes of one path of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It becomes this directory, or goes.
    Whole(Option<TreeOid>),
    /// Of the files below it, those that are selected become those of this directory, or go.
    Selected(Option<TreeOid>, Selection),
    /// Keys of the file are set to what they are in another content.
    Keys(Keys),
}

impl From<Option<TreeOid>> for Edit {
    fn from(tree: Option<TreeOid>) -> Self {
        Self::Whole(tree)
    }
}

impl Sync {
    /// What becomes of the target.
    #[must_use]
    pub fn edit(&self) -> Edit {
        match &self.keys {
            Some(keys) => Edit::Keys(keys.clone()),
            None if self.selection.is_everything() => Edit::Whole(self.tree.clone()),
            None => Edit::Selected(self.tree.clone(), self.selection.clone()),
        }
    }

    /// Whether all of a component travels.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.selection.is_everything() && self.keys.is_none()
    }

    /// Whether the component is taken away from the target.
    #[must_use]
    pub const fn is_removal(&self) -> bool {
        self.tree.is_none() && self.keys.is_none()
    }
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
    /// An entry of [`ReadsAt::entries`] is not among the facts. A plan is never guessed.
    #[error("{0} was not read, so no plan can be made; read every path that `reads` names")]
    MissingFact(PathInRepo),
    /// A base of [`Reads::at`] is not among the facts.
    #[error("nothing was read at {0}, so no plan can be made; read every base that `reads` names")]
    MissingBase(Base),
    /// A selection of the policy can't be read, which the policy's compiler should have said.
    #[error("a selection of the policy can't be read")]
    Selection(#[source] InvalidGlob),
    /// The plan could not be written down to be hashed.
    #[error("the plan could not be hashed")]
    Hash(#[source] serde_json::Error),
}

impl PlanError {
    /// All are mistakes of the caller or of this crate.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Bug
    }
}

/// What has to be read at the merge commit before [`plan`] can decide about a change that touched `changed`.
#[must_use]
pub fn reads(policy: &Policy, change: &Change, changed: &[String]) -> Reads {
    let trace = Trace::of(policy, change, changed);
    let reach = Reach::of(policy, change, &trace);
    let own = Base::default();
    let mut reads = Reads::default();
    let mut entries: BTreeMap<&Base, Vec<PathInRepo>> = BTreeMap::new();
    for candidate in reach.candidates().0 {
        let (from, to, way) = (&candidate.origin.from, candidate.to(), candidate.way);
        if candidate.travels_by_keys() {
            reads.base(&own).files.insert(from.clone());
            reads.base(&way.base).files.insert(to);
            continue;
        }
        if !way.flow.selection.is_everything() {
            reads.base(&own).listings.insert(from.clone());
            reads.base(&way.base).listings.insert(to.clone());
        }
        entries.entry(&way.base).or_default().push(to);
    }
    reads.component_policies = reach.components().cloned().collect();
    entries
        .entry(&own)
        .or_default()
        .extend(reads.component_policies.iter().cloned());
    for (base, paths) in entries {
        // Sorted once, which is quicker than one insertion after another.
        reads.base(base).entries = paths.into_iter().collect();
    }
    reads
}

impl Reads {
    /// What has to be read at the merge commit.
    #[must_use]
    pub fn own(&self) -> ReadsAt {
        self.at.get(&Base::default()).cloned().unwrap_or_default()
    }

    fn base(&mut self, base: &Base) -> &mut ReadsAt {
        self.at.entry(base.clone()).or_default()
    }
}

/// Decides what to do about a change. The same facts make the same plan, byte for byte, in whatever order the paths come.
///
/// # Errors
/// When an entry that [`reads`] named is not among the facts.
pub fn plan(policy: &Policy, facts: &Facts) -> Result<Plan, PlanError> {
    let trace = Trace::of(policy, &facts.change, &facts.changed);
    let reach = Reach::of(policy, &facts.change, &trace);
    let decided = decide::decide(&reach, reach.candidates(), facts)?;
    steps::assemble(policy, facts, &trace, decided)
}

/// Decides what to do to take a change back.
///
/// It is the same for the commit before it, which the facts are then of. Of that only what is in `only`, each a
/// [`part`]; none for all. What stands at the targets now does not matter.
///
/// # Errors
/// When an entry that [`reads`] named is not among the facts.
pub fn way_back(policy: &Policy, facts: &Facts, only: Option<&[String]>) -> Result<Plan, PlanError> {
    let change = &facts.change;
    let trace = Trace::of(policy, change, &facts.changed);
    let reach = Reach::of(policy, change, &trace);
    let (mut candidates, refused) = reach.candidates();
    if let Some(only) = only {
        candidates.retain(|candidate| {
            let Some(Found::Content(content)) = facts.at.get(&candidate.way.base) else {
                return false;
            };
            let repo = content.repo.as_ref().unwrap_or(&change.repo).id;
            let branch = content.branch.as_ref().unwrap_or(&change.branch);
            only.contains(&part(repo, branch, &candidate.to()))
        });
    }
    let decided = decide::decide(&reach, (candidates, refused), facts)?;
    steps::assemble(policy, facts, &trace, decided)
}

#[cfg(test)]
mod tests;
