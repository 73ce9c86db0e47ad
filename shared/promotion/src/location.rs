//! Where an environment or a failure domain keeps its files.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::change::Change;
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

/// The repository and the branch of a location, as far as they are not those that go without saying.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Base {
    /// The repository; none for the one that the policy is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoName>,
    /// The branch; none for the repository's default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
}

impl Base {
    /// The same base as a change sees it: nothing is said of what is the change's own, so that the default value is the branch that the
    /// change was merged into. In the change's repository every other branch is named.
    #[must_use]
    pub fn seen_from(&self, change: &Change) -> Self {
        if let Some(repo) = self.repo.as_ref().filter(|repo| **repo != change.repo.name) {
            return Self {
                repo: Some(repo.clone()),
                branch: self.branch.clone(),
            };
        }
        let branch = self.branch.as_ref().unwrap_or_else(|| change.default_branch());
        Self {
            repo: None,
            branch: Some(branch).filter(|branch| **branch != change.branch).cloned(),
        }
    }

    /// Whether it is what goes without saying.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        self.repo.is_none() && self.branch.is_none()
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.repo, &self.branch) {
            (Some(repo), Some(branch)) => write!(f, "{repo}@{branch}"),
            (Some(repo), None) => repo.fmt(f),
            (None, Some(branch)) => branch.fmt(f),
            (None, None) => f.write_str("the change's own branch"),
        }
    }
}

/// Which files of a component travel, as globs relative to the component. What does not travel stays as it is at the target.
///
/// `*` and `?` stop at a slash, `**` does not, `{a,b}` and `[0-9]` are alternatives. A glob without a slash means a file or directory of
/// that name at any depth, as in a `.gitignore`; any other is anchored at the component. A glob that matches a directory means all in it.
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

    /// The selection, ready to be asked.
    ///
    /// # Errors
    /// When a glob can't be read.
    pub fn compile(&self) -> Result<Selector, InvalidGlob> {
        Ok(Selector {
            include: if self.include.is_empty() {
                None
            } else {
                Some(globs(&self.include)?)
            },
            exclude: globs(&self.exclude)?,
        })
    }
}

/// A glob that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{glob}` is not a glob: {problem}; expected one such as `values-*.yaml` or `overlays/**`")]
pub struct InvalidGlob {
    /// The glob, cut to 100 characters.
    pub glob: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A [`Selection`] that is ready to be asked.
#[derive(Clone, Debug)]
pub struct Selector {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Selector {
    /// Whether the file at `path`, relative to its component, travels.
    #[must_use]
    pub fn selects(&self, path: &str) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(path)) && !self.exclude.is_match(path)
    }
}

/// Compiles globs that mean files and all that lies in directories which they match.
///
/// # Errors
/// When one can't be read.
pub(crate) fn globs(texts: &[String]) -> Result<GlobSet, InvalidGlob> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let refuse = |problem: String| InvalidGlob {
            glob: text.chars().take(100).collect(),
            problem,
        };
        let bare = text.strip_suffix('/').unwrap_or(text);
        let anchored = match bare.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None if bare.contains('/') => bare.to_owned(),
            None => format!("**/{bare}"),
        };
        if anchored.is_empty() || bare.is_empty() {
            return Err(refuse("it is empty".to_owned()));
        }
        if bare.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(refuse("it has a part `.` or `..`".to_owned()));
        }
        for glob in [anchored.clone(), format!("{anchored}/**")] {
            let glob = GlobBuilder::new(&glob)
                .literal_separator(true)
                .backslash_escape(true)
                .empty_alternates(true)
                .build()
                .map_err(|error| refuse(error.kind().to_string()))?;
            set.add(glob);
        }
    }
    set.build().map_err(|error| InvalidGlob {
        glob: texts.join(" ").chars().take(100).collect(),
        problem: error.kind().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        Selection {
            include: owned(include),
            exclude: owned(exclude),
        }
    }

    #[test]
    fn globs_select_as_the_documentation_says() {
        for (include, exclude, path, selected) in [
            (&[][..], &[][..], "a/b.yaml", true),
            (&[], &["values-region-*.yaml"], "values-region-eu.yaml", false),
            (
                &[],
                &["values-region-*.yaml"],
                "deep/values-region-eu.yaml",
                false,
            ),
            (&[], &["values-region-*.yaml"], "values.yaml", true),
            (&[], &["/values.yaml"], "deep/values.yaml", true),
            (&[], &["/values.yaml"], "values.yaml", false),
            (&[], &["overlays/"], "overlays/eu/patch.yaml", false),
            (&[], &["overlays/*"], "overlays/eu/patch.yaml", false),
            (&[], &["overlays/*.yaml"], "overlays/eu/patch.yaml", true),
            (&["**/*.yaml"], &[], "chart/x.yaml", true),
            (&["**/*.yaml"], &[], "chart/x.json", false),
            (&["*.{yaml,json}"], &["secret*"], "chart/x.json", true),
            (&["*.{yaml,json}"], &["secret*"], "chart/secret.json", false),
            (&["*.{yaml,json}"], &["secret*"], "secrets/x.json", false),
        ] {
            let selection = selection(include, exclude);
            assert_eq!(
                selection.compile().unwrap().selects(path),
                selected,
                "{selection:?} {path}"
            );
        }
    }

    #[test]
    fn a_glob_that_is_none_is_refused() {
        for glob in ["", "/", "[a", "{a", "../x", "a/./b"] {
            assert!(selection(&[], &[glob]).compile().is_err(), "{glob:?}");
        }
    }
}
