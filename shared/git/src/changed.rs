//! What a merged pull request changed on its base branch.
//!
//! GitHub tells which commit a pull request was merged as, but not how. A merge commit and a squash changed what lies between that
//! commit and its first parent; a rebase put N commits there. A merge commit and a pull request of one commit leave one way, which
//! GitHub's own count of changed files has to confirm. Where two ways differ, a count may fit the wrong one by coincidence, so
//! GitHub's list of files decides. No way of merging is ever assumed.

use std::collections::BTreeSet;

use git2::{Delta, Diff, DiffFindOptions, DiffOptions, ErrorCode, Oid, Repository, Tree};
use lockflight_promotion::{CommitOid, ErrorClass};

use crate::extent::{self, MOST_FILES};
use crate::mirror::MirrorFailure;
use crate::read::{ReadError, commit_oid, find_commit, find_tree, oid};

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
}

/// A way in which the pull request may have been merged.
struct Candidate<'r> {
    before: Option<Oid>,
    old: Option<Tree<'r>>,
    paths: BTreeSet<String>,
}

pub(crate) fn changed_paths(
    repo: &Repository,
    request: &MergedPullRequest,
) -> Result<ChangedPaths, ChangedPathsError> {
    let merged = find_commit(repo, &request.merged_as)?;
    let new = find_tree(repo, merged.tree_id())?;
    let candidate = |before: Option<Oid>| -> Result<Candidate<'_>, ReadError> {
        let old = before.map(|id| tree_of(repo, id)).transpose()?;
        let paths = differing_paths(repo, old.as_ref(), Some(&new))?;
        Ok(Candidate { before, old, paths })
    };
    let mut candidates = vec![candidate(merged.parent_ids().next())?];
    if merged.parent_count() < 2
        && request.commits > 1
        && let Some(before) = before_rebase(repo, &merged, request.commits)?
    {
        let rebase = candidate(before)?;
        if candidates.iter().all(|other| other.paths != rebase.paths) {
            candidates.push(rebase);
        }
    }

    let Some(files) = &request.files else {
        return match candidates.as_slice() {
            [only]
                if fits(repo, only.old.as_ref(), &new, request.changed_files)?
                    || is_merge_of(repo, &merged, request)? =>
            {
                known(only)
            }
            // GitHub lists no more than that, so the count has to do; that so large a one fits by chance is not to be expected.
            several if request.changed_files > MOST_LISTED => {
                let mut fitting = Vec::new();
                for way in several {
                    if fits(repo, way.old.as_ref(), &new, request.changed_files)? {
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
    repo: &Repository,
    merged: &git2::Commit<'_>,
    count: u64,
) -> Result<Option<Option<Oid>>, ReadError> {
    let mut parents: Vec<Oid> = merged.parent_ids().collect();
    for _ in 1..count {
        match parents.as_slice() {
            [parent] => {
                let commit = repo
                    .find_commit(*parent)
                    .map_err(ReadError::damaged(|| format!("commit {parent}")))?;
                parents = commit.parent_ids().collect();
            }
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
    repo: &Repository,
    merged: &git2::Commit<'_>,
    request: &MergedPullRequest,
) -> Result<bool, ReadError> {
    let parents: Vec<Oid> = merged.parent_ids().collect();
    let [base, head] = parents.as_slice() else {
        return Ok(false);
    };
    let what = || format!("the history of commit {}", merged.id());
    let (commits, _) = repo
        .graph_ahead_behind(*head, *base)
        .map_err(ReadError::damaged(what))?;
    if commits as u64 != request.commits {
        return Ok(false);
    }
    let left = match repo.merge_base(*base, *head) {
        Ok(left) => left,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(false),
        Err(error) => return Err(ReadError::damaged(what)(error)),
    };
    let (old, new) = (tree_of(repo, left)?, tree_of(repo, *head)?);
    fits(repo, Some(&old), &new, request.changed_files)
}

fn tree_of(repo: &Repository, commit: Oid) -> Result<Tree<'_>, ReadError> {
    let commit = repo
        .find_commit(commit)
        .map_err(ReadError::damaged(|| format!("commit {commit}")))?;
    find_tree(repo, commit.tree_id())
}

/// Whether the trees differ in as many files as GitHub counts, with or without pairing the two halves of renames.
fn fits(
    repo: &Repository,
    old: Option<&Tree<'_>>,
    new: &Tree<'_>,
    changed_files: u64,
) -> Result<bool, ReadError> {
    let plain = diff(repo, old, Some(new))?;
    let count = plain.deltas().len() as u64;
    if count <= changed_files {
        // Pairing only makes it less.
        return Ok(count == changed_files);
    }
    // Files that moved unchanged are found by their ids alone. That is also what git falls back to when there are too many.
    if count_with_renames(repo, old, new, true)? == changed_files {
        return Ok(true);
    }
    Ok(renames_are_affordable(repo, &plain)? && count_with_renames(repo, old, new, false)? == changed_files)
}

fn count_with_renames(
    repo: &Repository,
    old: Option<&Tree<'_>>,
    new: &Tree<'_>,
    exact: bool,
) -> Result<u64, ReadError> {
    let mut diff = diff(repo, old, Some(new))?;
    // git's defaults: half of the content is the same, at most 1,000 on either side (diff.renameLimit).
    let mut options = DiffFindOptions::new();
    options
        .renames(true)
        .rename_threshold(50)
        .rename_limit(1_000)
        .exact_match_only(exact);
    diff.find_similar(Some(&mut options))
        .map_err(ReadError::damaged(|| "renamed files"))?;
    Ok(diff.deltas().len() as u64)
}

fn renames_are_affordable(repo: &Repository, diff: &Diff<'_>) -> Result<bool, ReadError> {
    let odb = repo.odb().map_err(ReadError::damaged(|| "the object database"))?;
    let mut files = 0;
    let mut bytes = 0;
    for delta in diff.deltas() {
        let file = match delta.status() {
            Delta::Added => delta.new_file(),
            Delta::Deleted => delta.old_file(),
            _ => continue,
        };
        files += 1;
        // A submodule's commit is not here, and has no content.
        bytes += odb.read_header(file.id()).map_or(0, |(size, _)| size);
        if files > MOST_RENAME_CANDIDATES || bytes > MOST_RENAME_BYTES {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The files that differ, as git compares them: by name, mode and object id. A rename is its two paths.
pub(crate) fn differing_paths(
    repo: &Repository,
    old: Option<&Tree<'_>>,
    new: Option<&Tree<'_>>,
) -> Result<BTreeSet<String>, ReadError> {
    let diff = diff(repo, old, new)?;
    let mut paths = BTreeSet::new();
    for delta in diff.deltas() {
        for file in [delta.old_file(), delta.new_file()] {
            if let Some(path) = file.path_bytes() {
                paths.insert(String::from_utf8_lossy(path).into_owned());
            }
        }
    }
    Ok(paths)
}

/// The files that differ between two commits.
pub(crate) fn changed_between(
    repo: &Repository,
    base: &CommitOid,
    head: &CommitOid,
) -> Result<BTreeSet<String>, ReadError> {
    find_commit(repo, base)?;
    find_commit(repo, head)?;
    let (old, new) = (
        tree_of(repo, oid(base.as_str())?)?,
        tree_of(repo, oid(head.as_str())?)?,
    );
    differing_paths(repo, Some(&old), Some(&new))
}

fn diff<'r>(
    repo: &'r Repository,
    old: Option<&Tree<'_>>,
    new: Option<&Tree<'_>>,
) -> Result<Diff<'r>, ReadError> {
    extent::check(repo, old, new, MOST_FILES)?;
    let mut options = DiffOptions::new();
    // A file that became a symlink is one changed file, as it is for git and GitHub.
    options
        .include_typechange(true)
        .ignore_submodules(false)
        .skip_binary_check(true);
    repo.diff_tree_to_tree(old, new, Some(&mut options))
        .map_err(ReadError::damaged(|| "the difference of two trees"))
}
