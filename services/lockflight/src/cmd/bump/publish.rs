//! From a new content to a pull request: the branch, its commit, and what is said about it.
//!
//! Guarantees: the branch of a bump is only ever moved forward, from a tip that has commits of ours alone and differs in the one file
//! alone, so whatever somebody else pushes there in the meantime is never lost, and nothing else is ever merged; a second run meets its own branch and pull request; a file that is as it should
//! be opens nothing. What may interleave: another run of the same bump, and people. Whoever is overtaken looks again, a few times.

use std::time::Duration;

use lockflight_forge::{
    Assigned, AutoMerge, BranchMove, Comparison, CreatePullRequest, FileAt, FileMode, Forge, ForgeError,
    FoundRepository, MergeMethod, MergeOutcome, NewPullRequest, OneFileCommit, PullRequest, PullRequestEdit,
    PullRequestState, RepoClient,
};
use lockflight_promotion::{BranchName, CommitOid, InvalidId, Login, PathInRepo, RepoName};

use super::edit::{Edit, EditError};
use super::names::{self, Origin};

/// How often a run that was overtaken looks again.
const TRIES: usize = 4;
/// How often, and how long apart, something is asked for that GitHub has not seen yet.
const SOON: (usize, Duration) = (12, Duration::from_millis(500));
/// What every pull request of ours has.
const LABEL: &str = "promotion";
/// What stands below the description of one that was closed because the file is as it should be.
const CLOSED: &str = "Closed by `lockflight bump`: the file on the default branch is already as asked for.";

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) struct Bump {
    pub(super) target: RepoName,
    pub(super) path: PathInRepo,
    pub(super) edit: Edit,
    pub(super) origin: Origin,
    pub(super) actor: Option<Login>,
    pub(super) auto_merge: bool,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) what: What,
    /// The pull request that it is about.
    pub(super) pull: Option<PullRequest>,
    pub(super) merge: Option<Merge>,
    /// What did not work, though the pull request is there.
    pub(super) notes: Vec<String>,
    /// The content before and after.
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The file is as it should be.
    Unchanged,
    /// It is, and a pull request of ours that wanted something else was closed.
    Closed,
    /// A person closed the pull request with this content.
    Declined,
    /// The open pull request has this content.
    UpToDate,
    Opened,
    Updated,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    Merged,
    /// GitHub merges it once it can.
    Enabled,
    /// It stays open: why.
    Refused(String),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum BumpError {
    #[error("there is no repository {0} that the token can see")]
    NoRepository(RepoName),
    #[error("{repo} has no branch {branch} yet, so there is nothing to change")]
    Empty { repo: RepoName, branch: BranchName },
    #[error("{path} can't be changed, since {what} stands there")]
    NoFile { path: PathInRepo, what: &'static str },
    #[error(
        "branch {branch} has a commit that is not from this command ({commit}{}{}), and it is not overwritten: merge or close its \
         pull request and delete the branch, then run this again",
        author.as_ref().map(|login| format!(" by {login}")).unwrap_or_default(),
        beyond.as_ref().map(|what| format!("; up to there {what}")).unwrap_or_default()
    )]
    Foreign {
        branch: BranchName,
        commit: CommitOid,
        author: Option<Login>,
        /// What else changes than the file of the bump, if that is how it is known.
        beyond: Option<String>,
    },
    #[error("branch {0} is moved by somebody else all the time; run this again")]
    Overtaken(BranchName),
    #[error("there is no name for the branch")]
    Name(#[from] InvalidId),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Forge(#[from] ForgeError),
}

/// Does it.
pub(super) async fn publish(forge: &Forge, bump: &Bump) -> Result<Done, BumpError> {
    let found = forge
        .find(&bump.target)
        .await?
        .ok_or_else(|| BumpError::NoRepository(bump.target.clone()))?;
    let client = forge.repository(&found.repository).await?;
    let branch = names::branch(&bump.origin.repo, &bump.path, &bump.edit.identity())?;
    let job = Job {
        client,
        found,
        branch,
        bump,
    };
    for _ in 0..TRIES {
        if let Some(done) = job.attempt().await? {
            return Ok(done);
        }
    }
    Err(BumpError::Overtaken(job.branch))
}

struct Job<'b> {
    client: RepoClient,
    found: FoundRepository,
    branch: BranchName,
    bump: &'b Bump,
}

/// The branch of the bump, as it is.
struct Present {
    tip: CommitOid,
    compared: Comparison,
}

impl Job<'_> {
    /// One try; none if somebody was faster.
    async fn attempt(&self) -> Result<Option<Done>, BumpError> {
        let bump = self.bump;
        let client = &self.client;
        let default = &self.found.default_branch;
        let base = client.branch(default).await?.ok_or_else(|| BumpError::Empty {
            repo: bump.target.clone(),
            branch: default.clone(),
        })?;
        let standing = client.file_at(&base, &bump.path).await?;
        let (before, mode) = self.content(&standing).await?;
        let after = bump.edit.apply(&bump.path, before.as_deref())?;
        let pulls = self.pull_requests().await?;
        let open = pulls
            .iter()
            .find(|pull| pull.state == PullRequestState::Open)
            .cloned();
        let present = self.present(&base).await?;
        let is_as_asked = before.as_ref() == Some(&after);
        let done = |what, pull| Done {
            what,
            pull,
            merge: None,
            notes: Vec::new(),
            before: before.clone().unwrap_or_default(),
            after: after.clone(),
        };
        if is_as_asked {
            let Some(open) = open else {
                return Ok(Some(done(What::Unchanged, None)));
            };
            let closed = self.close(&open).await?;
            return Ok(Some(done(What::Closed, Some(closed))));
        }
        let has_it = match &present {
            Some(present) => self.has(present, &base, &standing, mode, &after).await?,
            None => false,
        };
        let (head, was_pushed) = match &present {
            Some(present) if has_it => (present.tip.clone(), false),
            _ => match self.push(&base, present.as_ref(), mode, &after).await? {
                Some(head) => (head, true),
                None => return Ok(None),
            },
        };
        let mut done = match open {
            Some(open) => {
                let what = if was_pushed { What::Updated } else { What::UpToDate };
                let pull = self.describe(open).await?;
                done(what, Some(pull))
            }
            None => {
                let declined = pulls.first().filter(|last| {
                    !was_pushed && !last.merged && last.head == head && !last.body.contains(CLOSED)
                });
                if let Some(last) = declined {
                    return Ok(Some(done(What::Declined, Some(last.clone()))));
                }
                let Some(pull) = self.open().await? else {
                    return Ok(None);
                };
                done(What::Opened, Some(pull))
            }
        };
        if let Some(pull) = &done.pull {
            done.notes = self.adorn(pull).await?;
            if bump.auto_merge {
                done.merge = Some(self.merge(pull, &head).await?);
            }
        }
        Ok(Some(done))
    }

    /// The content of a file, and the mode that it has or shall have.
    async fn content(&self, standing: &FileAt) -> Result<(Option<Vec<u8>>, FileMode), BumpError> {
        Ok(match standing {
            FileAt::File { mode, blob } => (Some(self.client.blob(blob).await?), *mode),
            FileAt::Absent => (None, FileMode::Regular),
            FileAt::NoFile(what) => {
                return Err(BumpError::NoFile {
                    path: self.bump.path.clone(),
                    what,
                });
            }
        })
    }

    /// Those from our branch into the default branch, newest first.
    async fn pull_requests(&self) -> Result<Vec<PullRequest>, ForgeError> {
        let mut pulls = self.client.find_pull_requests(&self.branch).await?;
        let own = |pull: &PullRequest| {
            pull.head_repo
                .as_ref()
                .is_some_and(|repo| repo.id == self.found.repository.id)
        };
        pulls.retain(|pull| pull.base_branch == self.found.default_branch && own(pull));
        Ok(pulls)
    }

    /// The branch, which may have commits of this command only. A trailer can be copied, and stays when a commit is amended, so what
    /// the commits change has to be this command's, too: the one file, and no other.
    async fn present(&self, base: &CommitOid) -> Result<Option<Present>, BumpError> {
        let Some(tip) = self.client.branch(&self.branch).await? else {
            return Ok(None);
        };
        let foreign = |commit: &CommitOid, author: Option<Login>, beyond| BumpError::Foreign {
            branch: self.branch.clone(),
            commit: commit.clone(),
            author,
            beyond,
        };
        let Some(compared) = self.client.compare(base, &tip).await? else {
            return Err(foreign(&tip, None, None));
        };
        let other = compared
            .ahead
            .iter()
            .find(|commit| !names::is_ours(&commit.message, &self.bump.origin.repo));
        if let Some(other) = other {
            return Err(foreign(&other.oid, other.author.clone(), None));
        }
        let newest = compared.ahead.last();
        if let (Some(newest), Some(beyond)) = (newest, beyond(&compared, &self.bump.path)) {
            return Err(foreign(&tip, newest.author.clone(), Some(beyond)));
        }
        Ok(Some(Present { tip, compared }))
    }

    /// Whether the branch has the content already, and can be merged as far as this file goes.
    async fn has(
        &self,
        present: &Present,
        base: &CommitOid,
        standing: &FileAt,
        mode: FileMode,
        after: &[u8],
    ) -> Result<bool, BumpError> {
        let Comparison {
            merge_base, ahead, ..
        } = &present.compared;
        if ahead.is_empty() {
            return Ok(false);
        }
        let path = &self.bump.path;
        if merge_base != base && self.client.file_at(merge_base, path).await? != *standing {
            return Ok(false);
        }
        Ok(match self.client.file_at(&present.tip, path).await? {
            FileAt::File { mode: there, blob } if there == mode => self.client.blob(&blob).await? == after,
            FileAt::File { .. } | FileAt::Absent | FileAt::NoFile(_) => false,
        })
    }

    /// Puts a commit onto the branch; none if somebody was faster.
    async fn push(
        &self,
        base: &CommitOid,
        present: Option<&Present>,
        mode: FileMode,
        after: &[u8],
    ) -> Result<Option<CommitOid>, BumpError> {
        // The tree is always that of the default branch with the one file, so it conflicts with nothing.
        let parents = match present {
            Some(present) if !present.compared.ahead.is_empty() => {
                if present.compared.merge_base == *base {
                    vec![present.tip.clone()]
                } else {
                    vec![present.tip.clone(), base.clone()]
                }
            }
            _ => vec![base.clone()],
        };
        let commit = OneFileCommit {
            base: base.clone(),
            parents,
            path: self.bump.path.clone(),
            mode,
            content: after.to_vec(),
            message: names::message(&self.bump.origin, &self.bump.path),
        };
        let head = self.client.commit_file(&commit).await?;
        let moved = match present {
            Some(_) => self.client.advance_branch(&self.branch, &head).await?,
            None => self.client.create_branch(&self.branch, &head).await?,
        };
        Ok(match moved {
            BranchMove::Moved => Some(head),
            BranchMove::Elsewhere => None,
        })
    }

    /// Opens the pull request; none if somebody was faster.
    async fn open(&self) -> Result<Option<PullRequest>, BumpError> {
        let new = NewPullRequest {
            title: names::title(&self.bump.origin, &self.bump.path),
            body: names::body(&self.bump.origin, None),
            head: self.branch.clone(),
            base: self.found.default_branch.clone(),
        };
        let (mut left, pause) = SOON;
        loop {
            match self.client.create_pull_request(&new).await {
                Ok(CreatePullRequest::Created(pull)) => return Ok(Some(*pull)),
                Ok(CreatePullRequest::AlreadyExists | CreatePullRequest::NoCommitsBetween) => {
                    return Ok(None);
                }
                Err(ForgeError::NotYetVisible { .. }) if left > 0 => {
                    left -= 1;
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Brings title and description of the open one up to date.
    async fn describe(&self, pull: PullRequest) -> Result<PullRequest, BumpError> {
        let title = names::title(&self.bump.origin, &self.bump.path);
        let body = names::body(&self.bump.origin, Some(&pull.body));
        if pull.title == title && pull.body == body {
            return Ok(pull);
        }
        let edit = PullRequestEdit {
            title: Some(title).filter(|title| *title != pull.title),
            body: Some(body).filter(|body| *body != pull.body),
            ..PullRequestEdit::default()
        };
        Ok(self.client.update_pull_request(pull.number, &edit).await?)
    }

    async fn close(&self, pull: &PullRequest) -> Result<PullRequest, BumpError> {
        let edit = PullRequestEdit {
            body: Some(format!("{}\n\n{CLOSED}", pull.body.trim_end())),
            state: Some(PullRequestState::Closed),
            ..PullRequestEdit::default()
        };
        Ok(self.client.update_pull_request(pull.number, &edit).await?)
    }

    /// Label and assignee. That one can't be assigned is no failure.
    async fn adorn(&self, pull: &PullRequest) -> Result<Vec<String>, BumpError> {
        let mut notes = Vec::new();
        if !pull.labels.contains(LABEL) {
            self.client.add_labels(pull.number, &[LABEL.to_owned()]).await?;
        }
        if let Some(actor) = &self.bump.actor {
            let is_there = pull
                .assignees
                .iter()
                .any(|login| login.as_str().eq_ignore_ascii_case(actor.as_str()));
            if !is_there {
                let assignees = std::slice::from_ref(actor);
                match self.client.add_assignees(pull.number, assignees).await? {
                    Assigned::All => {}
                    Assigned::Without(_) => notes.push(format!("{actor} can't be assigned there")),
                    Assigned::Refused(words) => notes.push(format!("{actor} can't be assigned: {words}")),
                }
            }
        }
        Ok(notes)
    }

    async fn merge(&self, pull: &PullRequest, head: &CommitOid) -> Result<Merge, BumpError> {
        let (tries, pause) = SOON;
        let mut reason = String::new();
        for _ in 0..tries {
            match self
                .client
                .merge(pull.number, head, MergeMethod::default())
                .await?
            {
                MergeOutcome::Merged(_) | MergeOutcome::AlreadyMerged { .. } => return Ok(Merge::Merged),
                MergeOutcome::NotMergeable {
                    reason: why,
                    transient: false,
                } => {
                    reason = why;
                    break;
                }
                MergeOutcome::NotMergeable { reason: why, .. } => reason = why,
                // What was pushed a moment ago may not have come to the pull request yet.
                MergeOutcome::HeadMoved => "its branch has moved".clone_into(&mut reason),
            }
            tokio::time::sleep(pause).await;
        }
        Ok(match self.client.enable_auto_merge(pull, head).await? {
            AutoMerge::Enabled => Merge::Enabled,
            AutoMerge::Refused(words) => Merge::Refused(format!(
                "{}; and GitHub does not merge it by itself: {words}",
                reason.trim_end_matches('.')
            )),
        })
    }
}

/// What else than the file of the bump a branch changes; none if nothing.
fn beyond(compared: &Comparison, path: &PathInRepo) -> Option<String> {
    let Some(files) = &compared.files else {
        return Some("more files change than GitHub lists".to_owned());
    };
    files
        .iter()
        .flat_map(|file| file.previous_path.iter().chain([&file.path]))
        .find(|changed| changed.as_str() != path.as_str())
        .map(|changed| format!("{changed:?} changes, too"))
}
