//! Opening, editing and closing pull requests, and knowing what is in them.

use std::sync::{Arc, PoisonError};

use serde_json::{Map, Value, json};

use crate::auth::Actor;
use crate::change::Change;
use crate::clock::Timestamp;
use crate::error::{FieldError, ForgeError};
use crate::forge::Inner;
use crate::git::diff::FileChange;
use crate::git::merge::Merged;
use crate::model::{PullRequest, PullRequestEnd, PullRequestState};
use crate::state::{RepoRef, Repository};
use crate::webhook::payload;

/// GitHub refuses longer titles.
const TITLE_CHARACTERS: usize = 256;
/// So many comparisons are remembered before all of them are forgotten.
const KEPT_COMPARISONS: usize = 256;

/// What lies between the base and the head of a pull request.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Where the two parted. Nothing where they have no commit in common.
    pub(crate) merge_base: Option<String>,
    /// Oldest first.
    pub(crate) commits: Vec<String>,
    pub(crate) files: Vec<FileChange>,
    /// Whether a merge would be clean.
    pub(crate) clean: bool,
}

impl Comparison {
    pub(crate) fn additions(&self) -> u64 {
        self.files.iter().map(|file| file.additions).sum()
    }

    pub(crate) fn deletions(&self) -> u64 {
        self.files.iter().map(|file| file.deletions).sum()
    }
}

/// Compares two commits as a pull request does: from where they parted to the head.
pub(crate) async fn compare(
    inner: &Inner,
    repo: &RepoRef,
    base: &str,
    head: &str,
) -> Result<Arc<Comparison>, ForgeError> {
    let key = (base.to_owned(), head.to_owned());
    let known = || inner.comparisons.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known().get(&key) {
        return Ok(Arc::clone(found));
    }
    let git = &inner.git;
    let merge_base = git.merge_base(&repo.dir, base, head).await?;
    let range = format!("^{base}");
    let commits = git
        .rev_list(&repo.dir, &["--reverse", "--topo-order", head, &range])
        .await?;
    let files = git.diff(&repo.dir, merge_base.as_deref(), head, false).await?;
    let clean = match &merge_base {
        None => false,
        Some(parted) if parted == base || parted == head => true,
        Some(_) => matches!(
            git.merge_tree(&repo.dir, base, head, None).await?,
            Merged::Clean(_)
        ),
    };
    let found = Arc::new(Comparison {
        merge_base,
        commits,
        files,
        clean,
    });
    let mut known = known();
    if known.len() >= KEPT_COMPARISONS {
        known.clear();
    }
    known.insert(key, Arc::clone(&found));
    Ok(found)
}

/// Returns the commits that a pull request is compared between: its base now, or where it was merged from.
pub(crate) fn ends(repository: &Repository, pull: &PullRequest) -> (String, String) {
    let base = match (&pull.merged_from, pull.state) {
        (Some(from), _) => from.clone(),
        (None, PullRequestState::Open) => repository
            .branch(&pull.base.branch)
            .unwrap_or(&pull.base.sha)
            .clone(),
        (None, PullRequestState::Closed) => pull.base.sha.clone(),
    };
    (base, pull.head.sha.clone())
}

/// Returns a pull request together with what is in it.
pub(crate) async fn with_comparison(
    inner: &Inner,
    repo: &RepoRef,
    number: u64,
) -> Result<(PullRequest, Arc<Comparison>), ForgeError> {
    let (pull, (base, head)) = {
        let state = inner.state();
        let repository = state.repository(&repo.key)?;
        let pull = repository.pull(number)?;
        (pull.clone(), ends(repository, pull))
    };
    let comparison = compare(inner, repo, &base, &head).await?;
    Ok((pull, comparison))
}

/// Keeps the head of a pull request reachable, as `refs/pull/N/head`.
pub(crate) async fn keep_head(
    inner: &Inner,
    repo: &RepoRef,
    number: u64,
    sha: &str,
) -> Result<(), ForgeError> {
    inner
        .git
        .run(
            &repo.dir,
            &["update-ref", &format!("refs/pull/{number}/head"), sha],
        )
        .await?;
    Ok(())
}

/// Tells the world what happened to a pull request: a `pull_request` webhook and a [`Change`].
pub(crate) async fn announce(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    number: u64,
    action: &str,
    sender: &str,
    extra: Map<String, Value>,
) -> Result<(), ForgeError> {
    let (pull, comparison) = if payload::is_heard(inner, repo) {
        let (pull, comparison) = with_comparison(inner, repo, number).await?;
        (pull, Some(comparison))
    } else {
        (inner.state().repository(&repo.key)?.pull(number)?.clone(), None)
    };
    if let Some(comparison) = comparison {
        let mut body = extra;
        {
            let state = inner.state();
            let shaper = inner.shaper(&state);
            let repository = state.repository(&repo.key)?;
            body.insert("number".into(), number.into());
            body.insert(
                "pull_request".into(),
                shaper.pull_request(
                    repository,
                    &pull,
                    &comparison,
                    shaper.mergeable(&pull, &comparison),
                ),
            );
        }
        payload::send(inner, repo, "pull_request", Some(action), sender, body)?;
    }
    inner.tell(Change::PullRequest {
        repository: repo.full_name.clone(),
        number,
        action: action.to_owned(),
        merged: pull.merged,
    });
    Ok(())
}

/// What somebody who opens a pull request gives.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) title: String,
    /// `branch` or `owner:branch`.
    pub(crate) head: String,
    pub(crate) base: String,
    pub(crate) body: Option<String>,
    pub(crate) draft: bool,
}

fn check_title(title: &str) -> Result<(), ForgeError> {
    if title.trim().is_empty() {
        return Err(ForgeError::field(FieldError::coded(
            "PullRequest",
            "title",
            "missing_field",
        )));
    }
    if title.chars().count() > TITLE_CHARACTERS {
        let message = format!("title is too long (maximum is {TITLE_CHARACTERS} characters)");
        let error = FieldError {
            field: Some("title"),
            ..FieldError::custom("Issue", message)
        };
        return Err(ForgeError::field(error));
    }
    Ok(())
}

fn check_body(inner: &Inner, body: Option<&str>) -> Result<(), ForgeError> {
    let longest = inner.options.limits.body_characters;
    if body.is_some_and(|body| body.chars().count() > longest) {
        let message = format!("body is too long (maximum is {longest} characters)");
        let error = FieldError {
            field: Some("body"),
            ..FieldError::custom("Issue", message)
        };
        return Err(ForgeError::field(error));
    }
    Ok(())
}

/// Opens a pull request and gives its number.
pub(crate) async fn open(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    opening: Opening,
) -> Result<u64, ForgeError> {
    check_title(&opening.title)?;
    check_body(inner, opening.body.as_deref())?;
    let invalid = |field| ForgeError::field(FieldError::coded("PullRequest", field, "invalid"));
    let branch = match opening.head.split_once(':') {
        Some((owner, branch)) if owner.eq_ignore_ascii_case(&repo.owner) => branch,
        // A head in a fork: there are none here.
        Some(_) => return Err(invalid("head")),
        None => opening.head.as_str(),
    };
    let (head, base) = {
        let state = inner.state();
        let repository = state.repository(&repo.key)?;
        let base = repository
            .branch(&opening.base)
            .cloned()
            .ok_or_else(|| invalid("base"))?;
        let head = repository
            .branch(branch)
            .cloned()
            .ok_or_else(|| invalid("head"))?;
        (head, base)
    };
    let comparison = compare(inner, repo, &base, &head).await?;
    if comparison.commits.is_empty() {
        let message = format!("No commits between {} and {branch}", opening.base);
        return Err(ForgeError::field(FieldError::custom("PullRequest", message)));
    }
    let number = {
        let unknown_reads = inner.unknown_reads();
        let mut state = inner.state();
        let (id, issue_id) = (state.fresh_id(), state.fresh_id());
        let repository = state.repository_mut(&repo.key)?;
        let taken = repository
            .open_pulls()
            .any(|pull| pull.head.branch == branch && pull.base.branch == opening.base);
        if taken {
            let message = format!("A pull request already exists for {}:{branch}.", repo.owner);
            return Err(ForgeError::field(FieldError::custom("PullRequest", message)));
        }
        let number = repository.pulls.last_key_value().map_or(1, |(last, _)| last + 1);
        let now = Timestamp::now();
        let pull = PullRequest {
            id,
            issue_id,
            number,
            title: opening.title,
            body: opening.body.filter(|body| !body.is_empty()),
            author: actor.login().to_owned(),
            head: PullRequestEnd {
                branch: branch.to_owned(),
                sha: head.clone(),
            },
            base: PullRequestEnd {
                branch: opening.base,
                sha: base,
            },
            state: PullRequestState::Open,
            merged: false,
            merged_at: None,
            merged_by: None,
            merge_commit_sha: None,
            merged_from: None,
            draft: opening.draft,
            labels: Vec::new(),
            assignees: Vec::new(),
            requested_reviewers: Vec::new(),
            comments: Vec::new(),
            reviews: Vec::new(),
            created_at: now,
            updated_at: now,
            closed_at: None,
            unknown_reads,
        };
        repository.pulls.insert(number, pull);
        number
    };
    keep_head(inner, repo, number, &head).await?;
    announce(inner, repo, number, "opened", actor.login(), Map::new()).await?;
    Ok(number)
}

/// What somebody who edits a pull request gives; what is missing stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edit {
    pub(crate) title: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) base: Option<String>,
    pub(crate) state: Option<PullRequestState>,
}

/// Edits, closes or reopens a pull request.
pub(crate) async fn edit(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    edit: Edit,
) -> Result<(), ForgeError> {
    if let Some(title) = &edit.title {
        check_title(title)?;
    }
    check_body(inner, edit.body.as_deref())?;
    let (changes, reopened) = {
        let unknown_reads = inner.unknown_reads();
        let mut state = inner.state();
        let repository = state.repository_mut(&repo.key)?;
        let before = repository.pull(number)?.clone();
        let reopen = edit.state == Some(PullRequestState::Open) && before.state == PullRequestState::Closed;
        if reopen {
            check_reopen(repository, &before)?;
        }
        let base = match &edit.base {
            Some(base) if *base != before.base.branch => {
                let tip = repository
                    .branch(base)
                    .cloned()
                    .ok_or_else(|| ForgeError::field(FieldError::coded("PullRequest", "base", "invalid")))?;
                Some(PullRequestEnd {
                    branch: base.clone(),
                    sha: tip,
                })
            }
            _ => None,
        };
        let head_now = repository.branch(&before.head.branch).cloned();
        let pull = repository.pull_mut(number)?;
        let mut changes = Map::new();
        if let Some(title) = edit.title.filter(|title| *title != before.title) {
            changes.insert("title".into(), json!({"from": before.title}));
            pull.title = title;
        }
        if let Some(body) = edit
            .body
            .filter(|body| Some(body.as_str()) != before.body.as_deref())
        {
            changes.insert("body".into(), json!({"from": before.body.unwrap_or_default()}));
            pull.body = Some(body).filter(|body| !body.is_empty());
        }
        if let Some(base) = base {
            changes.insert(
                "base".into(),
                json!({"ref": {"from": before.base.branch}, "sha": {"from": before.base.sha}}),
            );
            pull.base = base;
            pull.unknown_reads = unknown_reads;
        }
        let reopened = match edit.state {
            Some(wanted) if wanted != before.state => {
                pull.state = wanted;
                pull.closed_at = (wanted == PullRequestState::Closed).then(Timestamp::now);
                if let (PullRequestState::Open, Some(head)) = (wanted, head_now) {
                    pull.head.sha = head;
                }
                Some(wanted == PullRequestState::Open)
            }
            _ => None,
        };
        pull.updated_at = Timestamp::now();
        (changes, reopened)
    };
    if !changes.is_empty() {
        let mut extra = Map::new();
        extra.insert("changes".into(), changes.into());
        announce(inner, repo, number, "edited", actor.login(), extra).await?;
    }
    match reopened {
        Some(true) => announce(inner, repo, number, "reopened", actor.login(), Map::new()).await,
        Some(false) => announce(inner, repo, number, "closed", actor.login(), Map::new()).await,
        None => Ok(()),
    }
}

fn check_reopen(repository: &Repository, pull: &PullRequest) -> Result<(), ForgeError> {
    let refuse = |message: String| {
        let error = FieldError {
            field: Some("state"),
            ..FieldError::custom("PullRequest", message)
        };
        Err(ForgeError::field(error))
    };
    if pull.merged {
        return refuse("state cannot be changed. The pull request cannot be reopened.".into());
    }
    for end in [&pull.head, &pull.base] {
        if repository.branch(&end.branch).is_none() {
            return refuse(format!(
                "state cannot be changed. The {} branch has been deleted.",
                end.branch
            ));
        }
    }
    let twin = repository
        .open_pulls()
        .any(|other| other.head.branch == pull.head.branch && other.base.branch == pull.base.branch);
    if twin {
        let message = format!(
            "state cannot be changed. There is already an open pull request from {}:{} to {}:{}.",
            repository.owner, pull.head.branch, repository.owner, pull.base.branch
        );
        return refuse(message);
    }
    Ok(())
}
