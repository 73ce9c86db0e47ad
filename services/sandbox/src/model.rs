//! What the forge remembers, as plain data. Tests and pages read clones of it.

use std::collections::BTreeMap;

use crate::clock::Timestamp;

/// What kind of account a login is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKind {
    /// A person.
    User,
    /// The account that acts for a GitHub App; its login ends in `[bot]`.
    Bot,
    /// An owner of repositories that nobody signs in as.
    Organization,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The numeric id.
    pub id: u64,
    /// The login, as it is written.
    pub login: String,
    /// Person, bot or organization.
    pub kind: UserKind,
}

impl User {
    /// Returns the no-reply address that GitHub writes into commits made for this account.
    #[must_use]
    pub fn email(&self) -> String {
        format!("{}+{}@users.noreply.github.com", self.id, self.login)
    }
}

/// What a person may do in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// The repository does not exist for this person.
    None,
    /// May look.
    Read,
    /// May push, merge, label.
    Write,
    /// May also change some settings.
    Maintain,
    /// May also change hooks and protection.
    Admin,
}

impl Access {
    /// Returns the role's name in GitHub's API.
    #[must_use]
    pub const fn role(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Admin => "admin",
        }
    }

    /// Returns the word of the four that GitHub's older field knows.
    #[must_use]
    pub const fn permission(self) -> &'static str {
        match self {
            Self::Maintain => "write",
            other => other.role(),
        }
    }
}

/// A label of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The numeric id.
    pub id: u64,
    /// The name, compared without case.
    pub name: String,
    /// Six hexadecimal digits.
    pub color: String,
    /// What it is for.
    pub description: Option<String>,
}

/// Open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullRequestState {
    /// Can still be merged.
    Open,
    /// Merged or declined.
    Closed,
}

impl PullRequestState {
    /// Returns the word in GitHub's API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// How a pull request is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeMethod {
    /// A merge commit with two parents.
    #[default]
    Merge,
    /// One new commit on the base.
    Squash,
    /// The commits of the head, each made anew on the base.
    Rebase,
}

/// One end of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequestEnd {
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The commit. The base's is the tip when the head was last pushed, as on GitHub, and may lag behind.
    pub sha: String,
}

/// A comment in the conversation of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The numeric id.
    pub id: u64,
    /// Who wrote it.
    pub author: String,
    /// The slug of the App it was written through.
    pub via_app: Option<String>,
    /// Markdown.
    pub body: String,
    /// Why it was minimized (`outdated`, `resolved`, ...), where it was.
    pub minimized: Option<String>,
    /// The reactions to it, oldest first.
    pub reactions: Vec<Reaction>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was last edited.
    pub updated_at: Timestamp,
}

/// A reaction to a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// The numeric id.
    pub id: u64,
    /// Who reacted.
    pub author: String,
    /// One of GitHub's eight words, such as `eyes`.
    pub content: String,
    /// When.
    pub created_at: Timestamp,
}

/// What a review says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewState {
    /// Not yet sent.
    Pending,
    /// Only a remark.
    Commented,
    /// The reviewer agrees.
    Approved,
    /// The reviewer wants changes.
    ChangesRequested,
}

impl ReviewState {
    /// Returns the word in GitHub's API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Commented => "COMMENTED",
            Self::Approved => "APPROVED",
            Self::ChangesRequested => "CHANGES_REQUESTED",
        }
    }
}

/// A review of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The numeric id.
    pub id: u64,
    /// Who wrote it.
    pub author: String,
    /// What it says.
    pub state: ReviewState,
    /// Markdown.
    pub body: String,
    /// The commit that was reviewed.
    pub commit_id: String,
    /// When it was sent.
    pub submitted_at: Timestamp,
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The numeric id, unique on the forge.
    pub id: u64,
    /// The id of the same thing seen as an issue.
    pub issue_id: u64,
    /// The number, unique in the repository.
    pub number: u64,
    /// The title.
    pub title: String,
    /// The description, in Markdown.
    pub body: Option<String>,
    /// Who opened it.
    pub author: String,
    /// What is to be merged.
    pub head: PullRequestEnd,
    /// Where it is to be merged.
    pub base: PullRequestEnd,
    /// Open or closed.
    pub state: PullRequestState,
    /// Whether it was merged.
    pub merged: bool,
    /// When it was merged.
    pub merged_at: Option<Timestamp>,
    /// Who merged it.
    pub merged_by: Option<String>,
    /// The commit on the base that the merge made.
    pub merge_commit_sha: Option<String>,
    /// The merge base that its files are compared with, once merged. Before that it is found anew.
    pub merged_from: Option<String>,
    /// Whether it is a draft.
    pub draft: bool,
    /// Names of its labels, in the order they were put on.
    pub labels: Vec<String>,
    /// Logins it is assigned to.
    pub assignees: Vec<String>,
    /// Logins that were asked for a review.
    pub requested_reviewers: Vec<String>,
    /// The conversation.
    pub comments: Vec<Comment>,
    /// The reviews.
    pub reviews: Vec<Review>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was closed or merged.
    pub closed_at: Option<Timestamp>,
    /// How many reads still answer `mergeable: null`.
    pub(crate) unknown_reads: u32,
}

/// A commit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The numeric id.
    pub id: u64,
    /// The commit it is about.
    pub sha: String,
    /// `error`, `failure`, `pending` or `success`.
    pub state: String,
    /// The name that groups statuses of one kind.
    pub context: String,
    /// One short sentence, at most 140 characters.
    pub description: Option<String>,
    /// Where to read more.
    pub target_url: Option<String>,
    /// Who set it.
    pub creator: String,
    /// When it was set.
    pub created_at: Timestamp,
}

/// A check run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRun {
    /// The numeric id.
    pub id: u64,
    /// The commit it is about.
    pub head_sha: String,
    /// Its name.
    pub name: String,
    /// The id its creator knows it by.
    pub external_id: Option<String>,
    /// Where to read more.
    pub details_url: Option<String>,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// `success`, `failure`, ... once completed.
    pub conclusion: Option<String>,
    /// The headline of its output.
    pub title: Option<String>,
    /// The summary of its output, in Markdown.
    pub summary: Option<String>,
    /// The details of its output, in Markdown.
    pub text: Option<String>,
    /// Remarks on lines of files, in the order they came.
    pub annotations: Vec<CheckAnnotation>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// The App that made it.
    pub(crate) app: Option<u64>,
}

/// A remark of a check run on lines of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckAnnotation {
    /// The path of the file.
    pub path: String,
    /// The first line, from 1.
    pub start_line: u32,
    /// The last line.
    pub end_line: u32,
    /// `notice`, `warning` or `failure`.
    pub level: String,
    /// The headline.
    pub title: Option<String>,
    /// The remark.
    pub message: String,
}

/// A team of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// The numeric id.
    pub id: u64,
    /// Its name in URLs and after `@org/`.
    pub slug: String,
    /// Logins of its members, in the order they came.
    pub members: Vec<String>,
}

/// What has to hold before a pull request can be merged into a branch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protection {
    /// Contexts of statuses (or names of check runs) that have to be successful on the head.
    pub required_contexts: Vec<String>,
    /// How many approvals of the head are needed.
    pub required_approvals: u32,
}

/// Settings of a repository that change how merges work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySettings {
    /// Allows merge commits.
    pub allow_merge_commit: bool,
    /// Allows squash merges.
    pub allow_squash_merge: bool,
    /// Allows rebase merges.
    pub allow_rebase_merge: bool,
    /// Deletes the head branch after a merge.
    pub delete_branch_on_merge: bool,
}

impl Default for RepositorySettings {
    fn default() -> Self {
        Self {
            allow_merge_commit: true,
            allow_squash_merge: true,
            allow_rebase_merge: true,
            delete_branch_on_merge: false,
        }
    }
}

/// How much a GitHub App may do with one kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// May look.
    Read,
    /// May change.
    Write,
    /// May change everything about it.
    Admin,
}

/// Permissions of an App or a token, by GitHub's names (`contents`, `pull_requests`, ...).
pub type Permissions = BTreeMap<String, Level>;

/// Returns what a promotion bot asks for: contents, issues, pull requests, statuses and checks
/// with write, and the members of teams.
#[must_use]
pub fn promotion_permissions() -> Permissions {
    let mut permissions: Permissions = [
        "checks",
        "contents",
        "issues",
        "pull_requests",
        "repository_hooks",
        "statuses",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), Level::Write))
    .collect();
    permissions.insert("members".into(), Level::Read);
    permissions.insert("metadata".into(), Level::Read);
    permissions
}
