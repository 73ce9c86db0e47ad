//! Where an environment or a failure domain keeps its files.

use serde::{Deserialize, Serialize};

use crate::{BranchName, PathInRepo, RepoName};

/// Where an environment or a failure domain keeps its files.
///
/// The four ways to model environments differ only in the part of the location that tells them apart: path, branch,
/// repository, or the selection of files and keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The repository.
    pub repo: RepoName,
    /// The branch that pull requests towards this location merge into.
    pub branch: BranchName,
    /// The directory; the root for a branch or repository of its own.
    pub path: PathInRepo,
    /// Which files below the path travel.
    #[serde(default, skip_serializing_if = "Selection::is_everything")]
    pub selection: Selection,
}

impl Location {
    /// A directory of `branch` with everything in it.
    #[must_use]
    pub fn directory(repo: RepoName, branch: BranchName, path: PathInRepo) -> Self {
        Self {
            repo,
            branch,
            path,
            selection: Selection::default(),
        }
    }
}

/// Which files of a component travel, as globs relative to the component. What is excluded stays as it is at the target.
///
/// The policies that compile today always select everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Selection {
    /// Globs of files that travel; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Globs of files that do not travel although they are included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

impl Selection {
    /// Whether every file travels.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}
