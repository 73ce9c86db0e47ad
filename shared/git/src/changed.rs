//! What a merged pull request changed on its base branch.
//!
//! GitHub tells which commit a pull request was merged as, but not how. A merge commit and a squash changed what lies between that
//! commit and its first parent; a rebase put N commits there. A merge commit and a pull request of one commit leave one way, which
//! GitHub's own count of changed files has to confirm. Where two ways differ, a count may fit the wrong one by coincidence, so
//! GitHub's list of files decides. No way of merging is ever assumed.

use std::collections::BTreeSet;

use git2::{DiffFindOptions, DiffOptions, Oid, Tree};
use lockflight_promotion::{CommitOid, ErrorClass};

use crate::difference::{self, Difference};
use crate::history;
use crate::mirror::MirrorFailure;
use crate::objects::{Objects, RawCommit};
use crate::read::{ReadError, commit_oid};

/// Above these, renames are not looked for by content: it would read every added and deleted file.
const MOST_RENAME_CANDIDATES: usize = 2_000;
const MOST_RENAME_BYTES: usize = 64 << 20;

/// The most files of a pull request that GitHub lists: <https://docs.github.com/en/rest/pulls/pulls#list-pull-requests-files>.
const MOST_LISTED: u64 = 3_000;

/// What GitHub says of a merged pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedPullRequest {
    /// Its `merge_commit_sha`.
    pub merged_as: CommitOid,
    /// Its `commits`.
    pub commits: u64,
    /// Its `changed_files`.
    pub changed_files: u64,
    /// Its files, `filename` and `previous_filename`, if they were listed, all of them. Only needed after
    /// [`ChangedPaths::NeedsFileList`].
    pub files: Option<Vec<(String, Option<String>)>>,
}

/// What a merged pull request changed, or what is missing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ChangedPaths {
    /// It is known.
    Known {
        /// The files that differ, sorted, each rename with its old and its new path; lossy where a name is not UTF-8.
        paths: Vec<String>,
        /// The commit that the base branch stood at before; none if it had none.
        before: Option<CommitOid>,
    },
    /// There are two ways of merging that differ, or the count of files does not fit the only one. List the pull request's files and ask again with them.
    NeedsFileList,
}

/// It cannot be told what a pull request changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangedPathsError {
    /// Git cannot be read.
    #[error("the merged commit cannot be read")]
    Read(#[from] ReadError),
    /// The list of files is not complete.
    #[error(
        "GitHub lists {listed} of the pull request's {changed_files} files (it lists at most 3,000), \
         so what it changed cannot be told for sure; promote it in smaller pull requests"
    )]
    ListIncomplete {
        /// How many files were listed.
        listed: usize,
        /// How many there are.
        changed_files: u64,
    },
    /// The list of files is explained by no way of merging.
    #[error(
        "commit {merged_as} does not have the pull request's {changed_files} files as its changes, \
         be it as a merge, a squash or a rebase of {commits} commits"
    )]
    Unexplained {
        /// What the pull request was merged as.
        merged_as: CommitOid,
        /// How many commits it had.
        commits: u64,
        /// How many files it changed.
        changed_files: u64,
    },
}

impl ChangedPathsError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Read(error) => error.class(),
            Self::ListIncomplete { .. } | Self::Unexplained { .. } => ErrorClass::User,
        }
    }
}

impl MirrorFailure for ChangedPathsError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_damage())
    }

    fn is_incomplete(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_incomplete())
    }
}

/// A way in which the pull request may have been merged.
struct Candidate<'r> {
    before: Option<Oid>,
    old: Option<Tree<'r>>,
    differences: Vec<Difference>,
    paths: BTreeSet<String>,
}

pub(crate) fn changed_paths(
    objects: &Objects<'_>,
    request: &MergedPullRequest,
) -> Result<ChangedPaths, ChangedPathsError> {
    let merged = objects.asked(&request.merged_as)?;
    let mut ways = vec![merged.parents.first().copied()];
    let before = if merged.parents.len() < 2 && request.commits > 1 {
        before_rebase(objects, &merged, request.commits)
    } else {
        Ok(None)
    };
    // The one can be looked at while the history that the other needs is missing.
    if let Ok(Some(before)) = &before {
        ways.push(*before);
    }
    let found = Objects::each(ways, |before| candidate(objects, before, merged.tree));
    before?;
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for way in found? {
        if candidates.iter().all(|other| other.paths != way.paths) {
            candidates.push(way);
        }
    }
    let new = objects.tree(merged.tree)?;

    let Some(files) = &request.files else {
        return match candidates.as_slice() {
            [only]
                if fits(objects, only, &new, request.changed_files)? != Fit::No
                    || is_merge_of(objects, &merged, request)? =>
            {
                known(only)
            }
            // GitHub lists no more than that, so the count has to do; that so large a one fits by chance is not to be expected.
            several if request.changed_files > MOST_LISTED => {
                let mut fitting = Vec::new();
                for way in several {
                    if fits(objects, way, &new, request.changed_files)? != Fit::No {
                        fitting.push(way);
                    }
                }
                match fitting.as_slice() {
                    [only] => known(only),
                    _ => Ok(ChangedPaths::NeedsFileList),
                }
            }
            _ => Ok(ChangedPaths::NeedsFileList),
        };
    };
    if files.len() as u64 != request.changed_files {
        return Err(ChangedPathsError::ListIncomplete {
            listed: files.len(),
            changed_files: request.changed_files,
        });
    }
    arbitrate(request, files, &candidates)
}

/// Lets the list of files decide: the way whose paths are the list; else, since the base branch may have had a part of the pull request
/// already, the only way there is, or the list itself.
fn arbitrate(
    request: &MergedPullRequest,
    files: &[(String, Option<String>)],
    candidates: &[Candidate<'_>],
) -> Result<ChangedPaths, ChangedPathsError> {
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    // A previous name may also be that of a file that was copied and is unchanged itself.
    let previous: BTreeSet<&str> = files
        .iter()
        .filter_map(|(_, previous)| previous.as_deref())
        .collect();
    let listed = |candidate: &&Candidate<'_>| {
        candidate
            .paths
            .iter()
            .all(|path| names.contains(path.as_str()) || previous.contains(path.as_str()))
    };
    let complete = |candidate: &&Candidate<'_>| names.iter().all(|name| candidate.paths.contains(*name));
    let moved = |candidate: &&Candidate<'_>| previous.iter().all(|name| candidate.paths.contains(*name));
    let possible: Vec<_> = candidates.iter().filter(listed).collect();
    let explained: Vec<_> = possible.iter().copied().filter(complete).collect();
    // No two candidates have the same paths, so at most one has all of these.
    let exact = explained.iter().copied().find(|candidate| moved(candidate));
    match (exact, explained.as_slice(), possible.as_slice()) {
        (Some(one), ..) => known(one),
        (None, [one], _) => known(one),
        (None, [], [one]) if candidates.len() == 1 => known(one),
        // The base branch had a part already, or a rebase left out what was empty: which commits are the pull request's can't be told. What it
        // touched can: that is what GitHub lists. A path too many does no harm, since what is equal at its targets is not promoted.
        (None, [], [_, ..]) => Ok(ChangedPaths::Known {
            paths: names.union(&previous).map(|path| (*path).to_owned()).collect(),
            before: candidates
                .last()
                .and_then(|way| way.before)
                .map(commit_oid)
                .transpose()?,
        }),
        _ => Err(ChangedPathsError::Unexplained {
            merged_as: request.merged_as.clone(),
            commits: request.commits,
            changed_files: request.changed_files,
        }),
    }
}

fn candidate<'r>(
    objects: &'r Objects<'r>,
    before: Option<Oid>,
    new: Oid,
) -> Result<Candidate<'r>, ReadError> {
    let new = objects.tree(new);
    let old = before.map(|id| tree_of(objects, id)).transpose();
    let (new, old) = (new?, old?);
    let differences = difference::between(objects, old.as_ref(), Some(&new))?;
    let paths = paths(&differences);
    Ok(Candidate {
        before,
        old,
        differences,
        paths,
    })
}

fn known(candidate: &Candidate<'_>) -> Result<ChangedPaths, ChangedPathsError> {
    Ok(ChangedPaths::Known {
        paths: candidate.paths.iter().cloned().collect(),
        before: candidate.before.map(commit_oid).transpose()?,
    })
}

/// Where the base branch stood before a rebase merge of `count` commits: none at all (`Some(None)`) or a commit. `None` when
/// the last `count` commits cannot have come from a rebase, which makes no merge commits.
#[expect(
    clippy::option_option,
    reason = "no such place, and a place before the first commit, are different answers"
)]
fn before_rebase(
    objects: &Objects<'_>,
    merged: &RawCommit,
    count: u64,
) -> Result<Option<Option<Oid>>, ReadError> {
    let mut parents = merged.parents.clone();
    for _ in 1..count {
        match parents.as_slice() {
            [parent] => parents = objects.parent(*parent)?.parents,
            _ => return Ok(None),
        }
    }
    Ok(match parents.as_slice() {
        [] => Some(None),
        [parent] => Some(Some(*parent)),
        _ => None,
    })
}

/// Whether `merged` provably is the merge commit of this pull request although part of it was on the base branch already: its second
/// parent has as many commits, and as many changed files since it left the first, as GitHub counts.
fn is_merge_of(
    objects: &Objects<'_>,
    merged: &RawCommit,
    request: &MergedPullRequest,
) -> Result<bool, ReadError> {
    let [base, head] = merged.parents.as_slice() else {
        return Ok(false);
    };
    let (commits, left) = history::ahead(objects, *head, *base)?;
    if commits != request.commits {
        return Ok(false);
    }
    let Some(left) = left else {
        return Ok(false);
    };
    let head = objects.parent(*head)?.tree;
    let way = candidate(objects, Some(left), head)?;
    Ok(fits(objects, &way, &objects.tree(head)?, request.changed_files)? == Fit::Yes)
}

fn tree_of<'r>(objects: &'r Objects<'r>, commit: Oid) -> Result<Tree<'r>, ReadError> {
    objects.tree(objects.parent(commit)?.tree)
}

/// Whether two trees differ in as many files as GitHub counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// If enough of the files that are gone and the files that are new are alike, which only their content would tell. A partial mirror does not
    /// bring that for a count that only confirms what is known.
    Perhaps,
}

/// Whether a way's trees differ in as many files as GitHub counts, with or without pairing the two halves of renames.
fn fits(
    objects: &Objects<'_>,
    way: &Candidate<'_>,
    new: &Tree<'_>,
    changed_files: u64,
) -> Result<Fit, ReadError> {
    let count = way.differences.len() as u64;
    let exactly = |count: u64| if count == changed_files { Fit::Yes } else { Fit::No };
    if count <= changed_files {
        // Pairing only makes it less.
        return Ok(exactly(count));
    }
    // Files that moved unchanged are found by their ids alone. That is also what git falls back to when there are too many.
    let (count, pairs) = difference::without_moved(&way.differences);
    if count <= changed_files {
        return Ok(exactly(count));
    }
    if changed_files < count.saturating_sub(pairs) {
        return Ok(Fit::No);
    }
    if objects.is_partial() {
        return Ok(Fit::Perhaps);
    }
    if !renames_are_affordable(objects, &way.differences) {
        return Ok(Fit::No);
    }
    Ok(exactly(count_with_renames(objects, way.old.as_ref(), new)?))
}

/// How many files differ when those that moved, perhaps with some changes, count once.
fn count_with_renames(
    objects: &Objects<'_>,
    old: Option<&Tree<'_>>,
    new: &Tree<'_>,
) -> Result<u64, ReadError> {
    let mut options = DiffOptions::new();
    // A file that became a symlink is one changed file, as it is for git and GitHub.
    options
        .include_typechange(true)
        .ignore_submodules(false)
        .skip_binary_check(true);
    let mut diff = objects
        .repo
        .diff_tree_to_tree(old, Some(new), Some(&mut options))
        .map_err(ReadError::damaged(|| "the difference of two trees"))?;
    // git's defaults: half of the content is the same, at most 1,000 on either side (diff.renameLimit).
    let mut options = DiffFindOptions::new();
    options.renames(true).rename_threshold(50).rename_limit(1_000);
    diff.find_similar(Some(&mut options))
        .map_err(ReadError::damaged(|| "renamed files"))?;
    Ok(diff.deltas().len() as u64)
}

fn renames_are_affordable(objects: &Objects<'_>, differences: &[Difference]) -> bool {
    let mut files = 0;
    let mut bytes = 0;
    for difference in differences {
        let ((Some(file), None) | (None, Some(file))) = (difference.old, difference.new) else {
            continue;
        };
        files += 1;
        // A submodule's commit is not here, and has no content.
        bytes += objects.odb.read_header(file.id).map_or(0, |(size, _)| size);
        if files > MOST_RENAME_CANDIDATES || bytes > MOST_RENAME_BYTES {
            return false;
        }
    }
    true
}

/// The paths of differing files; a rename is its two paths.
fn paths(differences: &[Difference]) -> BTreeSet<String> {
    differences
        .iter()
        .map(|difference| String::from_utf8_lossy(&difference.path).into_owned())
        .collect()
}

/// The files that differ between two commits.
pub(crate) fn changed_between(
    objects: &Objects<'_>,
    base: &CommitOid,
    head: &CommitOid,
) -> Result<BTreeSet<String>, ReadError> {
    let (old, new) = (objects.root_tree(base), objects.root_tree(head));
    Ok(paths(&difference::between(objects, Some(&old?), Some(&new?))?))
}
