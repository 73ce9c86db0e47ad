//! Merging exactly the commit that was reasoned about.
//!
//! GitHub answers 405 for everything from "the base moved a moment ago" to "a required check is missing", so the pull request
//! is read once more before anything is concluded from it.

use http::StatusCode;
use lockflight_promotion::{CommitOid, PrNumber};
use serde::{Deserialize, Serialize};

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::pull::PullRequest;
use crate::route::{MERGE, REPO};
use crate::wire::lock;

/// How the commits get onto the base branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MergeMethod {
    /// Whatever the repository allows: the first of merge, squash and rebase.
    #[default]
    Auto,
    /// A merge commit.
    Merge,
    /// One new commit.
    Squash,
    /// Each commit anew.
    Rebase,
}

impl MergeMethod {
    const fn word(self) -> &'static str {
        match self {
            Self::Auto | Self::Merge => "merge",
            Self::Squash => "squash",
            Self::Rebase => "rebase",
        }
    }
}

/// What came of a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum MergeOutcome {
    /// Merged as this commit on the base branch.
    Merged(CommitOid),
    /// The branch has another head than the one that was meant: look again.
    HeadMoved,
    /// GitHub does not merge it now.
    NotMergeable {
        /// Why, for people.
        reason: String,
        /// Whether trying again a little later may help by itself.
        transient: bool,
    },
    /// Somebody else was faster.
    AlreadyMerged {
        /// The commit on the base branch.
        commit: Option<CommitOid>,
    },
}

#[derive(Serialize)]
struct Body<'a> {
    sha: &'a CommitOid,
    merge_method: &'static str,
}

#[derive(Deserialize)]
struct Done {
    sha: CommitOid,
}

/// Which methods the repository allows; shown only to those who may write.
#[derive(Deserialize)]
struct Settings {
    allow_merge_commit: Option<bool>,
    allow_squash_merge: Option<bool>,
    allow_rebase_merge: Option<bool>,
}

/// What one attempt came to.
enum Attempt {
    Outcome(MergeOutcome),
    /// The repository does not allow this method; GitHub's words.
    MethodNotAllowed(String),
}

impl RepoClient {
    /// Merges a pull request if its head is still `head`.
    ///
    /// # Errors
    /// When it is forbidden, or [`ForgeError::Unknown`]: then read the pull request before trying again.
    pub async fn merge(
        &self,
        number: PrNumber,
        head: &CommitOid,
        method: MergeMethod,
    ) -> Result<MergeOutcome, ForgeError> {
        let first = match method {
            MergeMethod::Auto => lock(&self.methods)
                .get(&self.id())
                .copied()
                .unwrap_or(MergeMethod::Merge),
            chosen => chosen,
        };
        let mut refused = match self.merge_as(number, head, first).await? {
            Attempt::Outcome(outcome) => return Ok(outcome),
            Attempt::MethodNotAllowed(words) => words,
        };
        if method == MergeMethod::Auto {
            for other in self.other_methods(first).await? {
                match self.merge_as(number, head, other).await? {
                    Attempt::Outcome(outcome) => {
                        if matches!(outcome, MergeOutcome::Merged(_)) {
                            lock(&self.methods).insert(self.id(), other);
                        }
                        return Ok(outcome);
                    }
                    Attempt::MethodNotAllowed(words) => refused = words,
                }
            }
        }
        Ok(MergeOutcome::NotMergeable {
            reason: refused,
            transient: false,
        })
    }

    /// The methods besides `tried` that the repository does not rule out.
    async fn other_methods(&self, tried: MergeMethod) -> Result<Vec<MergeMethod>, ForgeError> {
        let settings: Settings = self.session.read(&REPO, &self.path("")).await?.json()?;
        Ok([
            (MergeMethod::Merge, settings.allow_merge_commit),
            (MergeMethod::Squash, settings.allow_squash_merge),
            (MergeMethod::Rebase, settings.allow_rebase_merge),
        ]
        .into_iter()
        .filter(|(method, allowed)| *method != tried && allowed.unwrap_or(true))
        .map(|(method, _)| method)
        .collect())
    }

    async fn merge_as(
        &self,
        number: PrNumber,
        head: &CommitOid,
        method: MergeMethod,
    ) -> Result<Attempt, ForgeError> {
        let path = self.path(&format!("/pulls/{number}/merge"));
        let body = Body {
            sha: head,
            merge_method: method.word(),
        };
        let answer = self.write(&MERGE, &path, &body).await?;
        match answer.status() {
            StatusCode::CONFLICT => Ok(Attempt::Outcome(MergeOutcome::HeadMoved)),
            StatusCode::METHOD_NOT_ALLOWED => {
                let words = answer.words();
                if forbids_the_method(&words) {
                    return Ok(Attempt::MethodNotAllowed(words));
                }
                let pull = self.pull_request(number).await?;
                Ok(Attempt::Outcome(not_now(&pull, head, words)))
            }
            _ => Ok(Attempt::Outcome(MergeOutcome::Merged(answer.json::<Done>()?.sha))),
        }
    }
}

/// "Merge commits are not allowed on this repository." and its sisters for squash and rebase.
fn forbids_the_method(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("not allowed")
        && [
            "merge commits",
            "squash merges",
            "rebase merges",
            "squash merging",
            "rebase merging",
        ]
        .iter()
        .any(|method| words.contains(method))
}

/// What a 405 means, given the pull request as it is now.
fn not_now(pull: &PullRequest, head: &CommitOid, words: String) -> MergeOutcome {
    if pull.merged {
        return MergeOutcome::AlreadyMerged {
            commit: pull.merge_commit.clone(),
        };
    }
    if pull.head != *head {
        return MergeOutcome::HeadMoved;
    }
    if words.to_ascii_lowercase().contains("base branch was modified") {
        return MergeOutcome::NotMergeable {
            reason: words,
            transient: true,
        };
    }
    let state = pull.mergeable_state.as_deref().unwrap_or("unknown");
    let detail = match state {
        _ if pull.state == crate::PullRequestState::Closed => "the pull request is closed",
        _ if pull.draft => "the pull request is a draft",
        "dirty" => "it conflicts with the base branch",
        "blocked" => "a required review or check is missing",
        "behind" => "its branch is behind the base branch, which has to be merged into it first",
        "unstable" => "a check is failing or still running",
        _ if pull.mergeable.is_none() => "GitHub is still finding out whether it can be merged",
        _ => "",
    };
    let is_open = pull.state == crate::PullRequestState::Open && !pull.draft;
    // Not known yet, or known to be fine by now: either way the next try may succeed.
    let transient = is_open && (pull.mergeable.is_none() || matches!(state, "clean" | "unknown"));
    let reason = if detail.is_empty() {
        words
    } else {
        format!("{} ({detail})", words.trim_end_matches('.'))
    };
    MergeOutcome::NotMergeable { reason, transient }
}
