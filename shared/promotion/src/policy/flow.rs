//! Flows: from one location to others, wave by wave, under conditions.

use std::collections::BTreeSet;
use std::fmt;

use globset::GlobSet;

use super::pattern::{SourceMatch, SourcePattern};
use crate::gate::{Freeze, Gates};
use crate::location::{InvalidGlob, globs};
use crate::plan::FlowRef;
use crate::values::KeyPath;
use crate::{Base, BranchName, Login, PathInRepo, Selection};

/// From one location to others, wave by wave, under conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where the policy says so.
    pub reference: FlowRef,
    /// What the policy calls it; none if it does not say.
    pub name: Option<String>,
    /// Where the components are that it promotes.
    pub source: Source,
    /// When it holds.
    pub conditions: Conditions,
    /// Which files of a component travel.
    pub selection: Selection,
    /// Which keys of the source's file are set in the target's file. Empty unless the source is a file.
    pub keys: Vec<KeyPath>,
    /// Where it leads, one wave after another. A flow without waves leads nowhere.
    pub waves: Vec<Wave>,
}

/// Where the components of a flow are. It is always in the repository of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The branch; none for the default branch.
    pub branch: Option<BranchName>,
    /// The directories that hold the components.
    pub directories: Directories,
    /// The one file of each component that the flow is about, relative to the component; none for all of it.
    pub file: Option<PathInRepo>,
}

/// Which directories hold components, and how deep below them those lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directories {
    /// Those that a regular expression means.
    Pattern(SourcePattern),
    /// Exactly one.
    One {
        /// The directory.
        path: PathInRepo,
        /// How many segments below it name a component; with 0 the directory is the component.
        depth: usize,
    },
}

impl Directories {
    /// What it is called in plans and pull requests: the pattern, or the path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pattern(pattern) => pattern.as_str(),
            Self::One { path, .. } => path.as_str(),
        }
    }

    /// How many path segments below it name a component; with 0 the directory is the component.
    #[must_use]
    pub const fn depth(&self) -> usize {
        match self {
            Self::Pattern(pattern) => pattern.depth(),
            Self::One { depth, .. } => *depth,
        }
    }

    /// Where `path` meets it. Only the path's directories decide.
    #[must_use]
    pub fn locate<'a>(&self, path: &'a str) -> SourceMatch<'a> {
        let (directory, depth) = match self {
            Self::Pattern(pattern) => return pattern.locate(path),
            Self::One { path, depth } => (path, *depth),
        };
        let (source, rest) = if directory.is_root() {
            ("", path)
        } else {
            let length = directory.as_str().len();
            match (path.get(..length), path.get(length..)) {
                (Some(source), Some(rest)) if source == directory.as_str() && rest.starts_with('/') => {
                    (source, rest.get(1..).unwrap_or_default())
                }
                _ => return SourceMatch::None,
            }
        };
        let Some(above) = depth.checked_sub(1) else {
            return SourceMatch::Component { source, name: "" };
        };
        let end = rest.match_indices('/').nth(above).map(|(end, _)| end);
        match end.and_then(|end| rest.get(..end)) {
            Some(name) => SourceMatch::Component { source, name },
            None => SourceMatch::NoComponent,
        }
    }
}

impl fmt::Display for Directories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a flow holds. Each condition that is given has to be met.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The change must have one of these labels; none named, none needed. Labels are compared exactly.
    pub any_label: BTreeSet<String>,
    /// The change must be by one of these, in lower case; none named, anybody will do.
    pub any_author: BTreeSet<String>,
    pub(super) paths: Option<Globs>,
    pub(super) components: Option<Globs>,
}

#[derive(Clone, Debug)]
pub(super) struct Globs {
    texts: Vec<String>,
    set: GlobSet,
}

impl Globs {
    fn of(texts: Vec<String>) -> Result<Option<Self>, InvalidGlob> {
        if texts.is_empty() {
            return Ok(None);
        }
        let set = globs(&texts)?;
        Ok(Some(Self { texts, set }))
    }
}

impl Conditions {
    /// Only changed files that one of these globs means count for the flow; none given, all do. Relative to the repository.
    ///
    /// # Errors
    /// When a glob can't be read.
    pub fn on_paths(mut self, texts: Vec<String>) -> Result<Self, InvalidGlob> {
        self.paths = Globs::of(texts)?;
        Ok(self)
    }

    /// Only components whose name one of these globs means go with the flow; none given, all do.
    ///
    /// # Errors
    /// When a glob can't be read.
    pub fn on_components(mut self, texts: Vec<String>) -> Result<Self, InvalidGlob> {
        self.components = Globs::of(texts)?;
        Ok(self)
    }

    /// Whether a change with these labels, that began with this person, meets what is asked of a change as a whole.
    #[must_use]
    pub fn hold(&self, labels: &BTreeSet<String>, author: &Login) -> bool {
        (self.any_label.is_empty() || !self.any_label.is_disjoint(labels))
            && (self.any_author.is_empty() || self.any_author.contains(&author.as_str().to_lowercase()))
    }

    /// Whether a changed file counts.
    #[must_use]
    pub fn hold_for_path(&self, path: &str) -> bool {
        self.paths.as_ref().is_none_or(|globs| globs.set.is_match(path))
    }

    /// Whether a component may go with the flow.
    #[must_use]
    pub fn hold_for_component(&self, name: &str) -> bool {
        self.components
            .as_ref()
            .is_none_or(|globs| globs.set.is_match(name))
    }

    /// Whether it matters which file of a directory has changed.
    #[must_use]
    pub const fn tell_files_apart(&self) -> bool {
        self.paths.is_some()
    }

    /// The globs of changed files and of components, as the policy has them. An empty list asks for nothing.
    #[must_use]
    pub fn globs(&self) -> (&[String], &[String]) {
        let [paths, components] = self.texts();
        (paths, components)
    }

    fn texts(&self) -> [&[String]; 2] {
        [
            self.paths
                .as_ref()
                .map_or(&[][..], |globs| globs.texts.as_slice()),
            self.components
                .as_ref()
                .map_or(&[][..], |globs| globs.texts.as_slice()),
        ]
    }
}

impl PartialEq for Conditions {
    fn eq(&self, other: &Self) -> bool {
        self.any_label == other.any_label
            && self.any_author == other.any_author
            && self.texts() == other.texts()
    }
}

impl Eq for Conditions {}

/// The targets that a flow reaches together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wave {
    /// What people call it: what the policy says, or else the targets that it leads to.
    pub name: Option<String>,
    /// What must be done before it begins.
    pub after: After,
    /// What must hold, beside its steps being merged, before what comes after it begins.
    pub gates: Gates,
    /// When nothing may go there.
    pub freezes: Vec<Freeze>,
    /// Whether its pull requests are merged as soon as GitHub allows.
    pub auto_merge: bool,
    /// Where it leads: one pull request each, in the order of the policy.
    pub groups: Vec<Group>,
}

/// What must be done before a wave begins. A wave that waits for none begins at once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// All of these waves, by their place in the flow.
    All(Vec<usize>),
    /// One of these waves.
    Any(Vec<usize>),
}

impl Default for After {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

/// The targets of one pull request. They are all in one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they are called; none if the policy does not say.
    pub description: Option<String>,
    /// The repository and branch that they are in.
    pub base: Base,
    /// The targets, in the order of the policy, each once.
    pub targets: Vec<Target>,
}

/// A place that components go to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The directory that holds the components.
    pub path: PathInRepo,
    /// The file of each component that keys are set in, relative to the component; none where whole components go.
    pub file: Option<PathInRepo>,
    /// What the policy calls it, as `production/us-west1`; none if it has only a path.
    pub name: Option<String>,
}

impl Target {
    /// A directory that whole components go to.
    #[must_use]
    pub const fn directory(path: PathInRepo) -> Self {
        Self {
            path,
            file: None,
            name: None,
        }
    }
}
