//! Branches: where they are, what they have that another one has not, and moving them without overwriting anybody.

use http::StatusCode;
use lockflight_promotion::{BranchName, CommitOid, Login};
use serde::{Deserialize, Serialize};

use crate::client::{RepoClient, encoded};
use crate::error::ForgeError;
use crate::pull::Account;
use crate::pull_files::ChangedFile;
use crate::route::{COMPARE, REF, UPDATE_REF};

/// GitHub lists at most so many commits of a comparison on one page.
const PAGE: usize = 100;
/// GitHub lists at most so many files of a comparison, all of them on its first page.
const MOST_FILES: usize = 300;
/// More commits than anybody looks through.
const MAX_PAGES: usize = 20;

/// What came of moving a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum BranchMove {
    /// It is where it was to be.
    Moved,
    /// Somebody has moved, made or removed it since it was looked at. Nothing was done.
    Elsewhere,
}

/// What one commit has that another one has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The best common ancestor.
    pub merge_base: CommitOid,
    /// The commits that only the second one has, oldest first.
    pub ahead: Vec<ComparedCommit>,
    /// The files in which the second one differs from the common ancestor; none where GitHub may not list them all.
    pub files: Option<Vec<ChangedFile>>,
}

/// One commit of a [`Comparison`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedCommit {
    /// Its id.
    pub oid: CommitOid,
    /// Its message.
    pub message: String,
    /// Whose account its author is, where GitHub knows.
    pub author: Option<Login>,
}

#[derive(Deserialize)]
struct RefShown {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    sha: CommitOid,
}

#[derive(Deserialize)]
struct Compared {
    merge_base_commit: Object,
    total_commits: usize,
    commits: Vec<CommitShown>,
    files: Option<Vec<ChangedFile>>,
}

#[derive(Deserialize)]
struct CommitShown {
    sha: CommitOid,
    commit: Message,
    author: Option<Account>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

#[derive(Serialize)]
struct RefMove<'a> {
    sha: &'a CommitOid,
    force: bool,
}

impl RepoClient {
    /// Where a branch is; none if there is none of that name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn branch(&self, branch: &BranchName) -> Result<Option<CommitOid>, ForgeError> {
        let path = self.path(&format!("/git/ref/heads/{}", in_path(branch)));
        let answer = self.session.read(&REF, &path).await?;
        // 409 is GitHub's answer for a repository without any commit.
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
            return Ok(None);
        }
        Ok(Some(answer.json::<RefShown>()?.object.sha))
    }

    /// Makes a branch, unless there is one of that name.
    ///
    /// # Errors
    /// When it is refused, such as by a ruleset, or [`ForgeError::Unknown`].
    pub async fn create_branch(&self, branch: &BranchName, at: &CommitOid) -> Result<BranchMove, ForgeError> {
        let is_new = self.create_ref(&format!("heads/{branch}"), at).await?;
        Ok(if is_new {
            BranchMove::Moved
        } else {
            BranchMove::Elsewhere
        })
    }

    /// Moves a branch to a commit that has the branch's present tip among its ancestors; that is what makes sure that nobody's
    /// commits are lost: GitHub compares and moves in one.
    ///
    /// # Errors
    /// When it is refused, such as by a ruleset, or [`ForgeError::Unknown`].
    pub async fn advance_branch(
        &self,
        branch: &BranchName,
        to: &CommitOid,
    ) -> Result<BranchMove, ForgeError> {
        let path = self.path(&format!("/git/refs/heads/{}", in_path(branch)));
        let body = RefMove {
            sha: to,
            force: false,
        };
        let answer = self.write(&UPDATE_REF, &path, &body).await?;
        if matches!(
            answer.status(),
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT
        ) {
            let words = answer.words().to_ascii_lowercase();
            let moved = ["not a fast forward", "does not exist", "cannot be updated"];
            if moved.iter().any(|known| words.contains(known)) {
                return Ok(BranchMove::Elsewhere);
            }
        }
        answer.success()?;
        Ok(BranchMove::Moved)
    }

    /// What `head` has that `base` has not. None if they have no common ancestor.
    ///
    /// # Errors
    /// When it cannot be read, when the commits end before all of them came, or there are more than 2,000.
    pub async fn compare(
        &self,
        base: &CommitOid,
        head: &CommitOid,
    ) -> Result<Option<Comparison>, ForgeError> {
        let mut ahead = Vec::new();
        let mut files = None;
        let path = |page: usize| self.path(&format!("/compare/{base}...{head}?per_page={PAGE}&page={page}"));
        for page in 1..=MAX_PAGES {
            let answer = self.session.read(&COMPARE, &path(page)).await?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let call = answer.call.clone();
            let compared: Compared = answer.json()?;
            let is_last = compared.commits.is_empty();
            if page == 1 {
                files = compared.files.filter(|files| files.len() < MOST_FILES);
            }
            ahead.extend(compared.commits.into_iter().map(|commit| ComparedCommit {
                oid: commit.sha,
                message: commit.commit.message,
                author: commit.author.map(|account| account.login),
            }));
            if ahead.len() >= compared.total_commits {
                return Ok(Some(Comparison {
                    merge_base: compared.merge_base_commit.sha,
                    ahead,
                    files,
                }));
            }
            // What was not told of may be anybody's.
            if is_last {
                let (listed, expected) = (ahead.len(), compared.total_commits);
                return Err(ForgeError::Unreadable {
                    call,
                    source: serde::de::Error::custom(format!(
                        "{listed} commits came, and there are {expected}"
                    )),
                });
            }
        }
        Err(ForgeError::Endless {
            call: self.session.call(&COMPARE, &path(MAX_PAGES)),
            pages: MAX_PAGES,
        })
    }
}

/// A branch in a path: its slashes stay.
fn in_path(branch: &BranchName) -> String {
    let parts: Vec<String> = branch.as_str().split('/').map(encoded).collect();
    parts.join("/")
}
