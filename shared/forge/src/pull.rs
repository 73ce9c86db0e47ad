//! Pull requests: finding and opening.

use std::collections::BTreeSet;

use http::StatusCode;
use lockflight_promotion::{BranchName, CommitOid, Login, PrNumber, RepoId, RepoName};
use serde::{Deserialize, Serialize};

use crate::client::{RepoClient, encoded};
use crate::error::ForgeError;
use crate::page::Pages;
use crate::route::{CREATE_PULL, PULL, PULLS};
use crate::time;

/// A pull request, as far as anything here looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// The number.
    pub number: PrNumber,
    /// GitHub's id for GraphQL.
    pub node_id: String,
    /// Its page.
    pub html_url: String,
    /// The title.
    pub title: String,
    /// The description; empty if there is none.
    pub body: String,
    /// Who opened it; `ghost` if the account is gone.
    pub author: Login,
    /// What kind of account that is.
    pub author_type: AccountType,
    /// Open or closed.
    pub state: PullRequestState,
    /// Whether it is a draft.
    pub draft: bool,
    /// Whether it was merged.
    pub merged: bool,
    /// When it was merged, in seconds since 1970 UTC.
    pub merged_at: Option<i64>,
    /// The commit on the base branch that carries the change; only of a merged pull request.
    pub merge_commit: Option<CommitOid>,
    /// The last commit of its branch.
    pub head: CommitOid,
    /// The branch it comes from; a fork's branch need not be one of ours.
    pub head_branch: String,
    /// The repository of that branch; none if it was deleted.
    pub head_repo: Option<RepoRef>,
    /// The branch it goes into.
    pub base_branch: BranchName,
    /// A commit of that branch: its tip when the pull request was last pushed to.
    pub base: CommitOid,
    /// The repository of that branch.
    pub base_repo: RepoRef,
    /// The names of its labels.
    pub labels: BTreeSet<String>,
    /// Whom it is assigned to.
    pub assignees: Vec<Login>,
    /// How many commits it has; not known from a list.
    pub commits: Option<u64>,
    /// How many files it changes; not known from a list. GitHub counts 0 when the change is far too large.
    pub changed_files: Option<u64>,
    /// Whether it can be merged; none while GitHub finds out, and from a list.
    pub mergeable: Option<bool>,
    /// GitHub's word for it: `clean`, `blocked`, `behind`, `dirty`, `unstable`, ...
    pub mergeable_state: Option<String>,
    /// When it was opened, in seconds since 1970 UTC.
    pub created_at: i64,
    /// When it last changed, in seconds since 1970 UTC.
    pub updated_at: i64,
}

/// A repository as a pull request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoRef {
    /// The numeric id.
    pub id: RepoId,
    /// The name it has now.
    pub name: RepoName,
    /// The branch that counts: people's changes are merged into it, and policy is read from it.
    pub default_branch: String,
}

/// Open or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullRequestState {
    /// It can still be merged.
    Open,
    /// It was merged or declined.
    Closed,
}

/// What kind of account a login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum AccountType {
    /// A person.
    User,
    /// A GitHub App.
    Bot,
    /// An organization.
    Organization,
    /// Something newer than this program.
    #[serde(other)]
    Other,
}

/// A pull request to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewPullRequest {
    /// The title.
    pub title: String,
    /// The description, at most 65,536 characters.
    pub body: String,
    /// The branch it comes from, in the same repository.
    pub head: BranchName,
    /// The branch it goes into.
    pub base: BranchName,
}

/// What came of opening a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum CreatePullRequest {
    /// It is open.
    Created(Box<PullRequest>),
    /// An open one has the same head and base: find it.
    AlreadyExists,
    /// The head has nothing that the base has not.
    NoCommitsBetween,
}

/// An account, as lists and objects carry it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) login: Login,
    #[serde(default)]
    pub(crate) id: Option<u64>,
    #[serde(rename = "type", default = "person")]
    pub(crate) kind: AccountType,
}

const fn person() -> AccountType {
    AccountType::User
}

/// The login and kind of an account that may be gone; GitHub shows such as `ghost`.
pub(crate) fn account<E: serde::de::Error>(account: Option<Account>) -> Result<(Login, AccountType), E> {
    match account {
        Some(account) => Ok((account.login, account.kind)),
        None => Login::parse("ghost")
            .map(|login| (login, AccountType::User))
            .map_err(E::custom),
    }
}

#[derive(Deserialize)]
struct End {
    #[serde(rename = "ref")]
    branch: String,
    sha: CommitOid,
    repo: Option<EndRepo>,
}

#[derive(Deserialize)]
struct EndRepo {
    id: RepoId,
    full_name: RepoName,
    default_branch: String,
}

impl From<EndRepo> for RepoRef {
    fn from(repo: EndRepo) -> Self {
        Self {
            id: repo.id,
            name: repo.full_name,
            default_branch: repo.default_branch,
        }
    }
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

/// A pull request on the wire: the parts that single ones and lists share, and the others where they are.
#[derive(Deserialize)]
struct Wire {
    number: PrNumber,
    node_id: String,
    html_url: String,
    title: String,
    body: Option<String>,
    user: Option<Account>,
    state: PullRequestState,
    #[serde(default)]
    draft: bool,
    #[serde(default, deserialize_with = "time::iso_or_null")]
    merged_at: Option<i64>,
    #[serde(default)]
    merge_commit_sha: Option<CommitOid>,
    head: End,
    base: End,
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    assignees: Option<Vec<Account>>,
    commits: Option<u64>,
    changed_files: Option<u64>,
    mergeable: Option<bool>,
    mergeable_state: Option<String>,
    #[serde(deserialize_with = "time::iso")]
    created_at: i64,
    #[serde(deserialize_with = "time::iso")]
    updated_at: i64,
}

impl<'de> Deserialize<'de> for PullRequest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let wire = Wire::deserialize(deserializer)?;
        let (author, author_type) = account(wire.user)?;
        let base_repo = wire
            .base
            .repo
            .ok_or_else(|| D::Error::custom("a pull request without a repository to go into"))?;
        let merged = wire.merged_at.is_some();
        Ok(Self {
            number: wire.number,
            node_id: wire.node_id,
            html_url: wire.html_url,
            title: wire.title,
            body: wire.body.unwrap_or_default(),
            author,
            author_type,
            state: wire.state,
            draft: wire.draft,
            merged,
            merged_at: wire.merged_at,
            // Before the merge, GitHub puts the commit of a trial merge there.
            merge_commit: wire.merge_commit_sha.filter(|_| merged),
            head: wire.head.sha,
            head_branch: wire.head.branch,
            head_repo: wire.head.repo.map(RepoRef::from),
            base_branch: BranchName::parse(wire.base.branch).map_err(D::Error::custom)?,
            base: wire.base.sha,
            base_repo: base_repo.into(),
            labels: wire.labels.into_iter().map(|label| label.name).collect(),
            assignees: wire
                .assignees
                .unwrap_or_default()
                .into_iter()
                .map(|account| account.login)
                .collect(),
            commits: wire.commits,
            changed_files: wire.changed_files,
            mergeable: wire.mergeable,
            mergeable_state: wire.mergeable_state,
            created_at: wire.created_at,
            updated_at: wire.updated_at,
        })
    }
}

impl RepoClient {
    /// Reads one pull request. Right after its event GitHub may not find it yet, so a 404 is tried again for a moment.
    ///
    /// # Errors
    /// When it cannot be read, or the repository's name now belongs to another repository.
    pub async fn pull_request(&self, number: PrNumber) -> Result<PullRequest, ForgeError> {
        let path = self.path(&format!("/pulls/{number}"));
        let pull = self.session.read_new(&PULL, &path).await?.json()?;
        self.ours(pull)
    }

    /// Finds the pull requests from `head` of this repository, open and closed, newest first: 100 at most.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn find_pull_requests(&self, head: &BranchName) -> Result<Vec<PullRequest>, ForgeError> {
        let head = encoded(&format!("{}:{head}", self.name().owner()));
        self.list(&format!("/pulls?head={head}&state=all&per_page=100"))
            .await
    }

    /// Reads the 100 pull requests that were opened last, open and closed, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn recent_pull_requests(&self) -> Result<Vec<PullRequest>, ForgeError> {
        self.list("/pulls?state=all&sort=created&direction=desc&per_page=100")
            .await
    }

    /// All open pull requests into `base`, newest first.
    ///
    /// # Errors
    /// When they cannot all be read.
    pub async fn open_pull_requests(&self, base: &BranchName) -> Result<Vec<PullRequest>, ForgeError> {
        let base = encoded(base.as_str());
        let path = self.path(&format!("/pulls?state=open&base={base}&per_page=100"));
        let (mut pages, mut pulls) = Pages::begin::<Vec<PullRequest>>(&self.session, &PULLS, &path).await?;
        while let Some(more) = pages.next::<Vec<PullRequest>>().await? {
            pulls.extend(more);
        }
        // One that is opened while the pages are read moves others to the next page.
        let mut seen = BTreeSet::new();
        pulls.retain(|pull| seen.insert(pull.number));
        pulls.into_iter().map(|pull| self.ours(pull)).collect()
    }

    async fn list(&self, below: &str) -> Result<Vec<PullRequest>, ForgeError> {
        let pulls: Vec<PullRequest> = self.session.read(&PULLS, &self.path(below)).await?.json()?;
        pulls.into_iter().map(|pull| self.ours(pull)).collect()
    }

    /// Opens a pull request.
    ///
    /// # Errors
    /// [`ForgeError::NotYetVisible`] when the head was pushed so recently that GitHub's API does not see it;
    /// [`ForgeError::Unknown`] when it may or may not be open now.
    pub async fn create_pull_request(&self, new: &NewPullRequest) -> Result<CreatePullRequest, ForgeError> {
        let answer = self.write(&CREATE_PULL, &self.path("/pulls"), new).await?;
        if answer.status() == StatusCode::UNPROCESSABLE_ENTITY {
            let complaint = answer.complaint();
            let words = complaint.words(answer.status()).to_ascii_lowercase();
            if words.contains("already exists") {
                return Ok(CreatePullRequest::AlreadyExists);
            }
            if words.contains("no commits between") {
                return Ok(CreatePullRequest::NoCommitsBetween);
            }
            if complaint.names("head", "invalid") {
                return Err(ForgeError::NotYetVisible {
                    call: answer.call,
                    branch: new.head.to_string(),
                });
            }
        }
        let pull = self.ours(answer.json()?)?;
        Ok(CreatePullRequest::Created(Box::new(pull)))
    }

    /// Checks that a pull request belongs to the repository that is meant, not to another that took its name.
    pub(crate) fn ours(&self, pull: PullRequest) -> Result<PullRequest, ForgeError> {
        self.expect(pull.base_repo.id).map(|()| pull)
    }
}
