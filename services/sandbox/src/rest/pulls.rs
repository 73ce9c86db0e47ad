//! Pull requests.

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::header;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Body, Call};
use super::{Answer, created, no_content, ok};
use crate::auth::Need;
use crate::error::{FieldError, ForgeError};
use crate::model::{MergeMethod, PullRequest, PullRequestState};
use crate::operations::merge::MergeRequest;
use crate::operations::pull_requests::{Edit, Opening, ends, with_comparison};
use crate::operations::{merge as merging, pull_requests};
use crate::state::RepoRef;

type NumberPath = Path<(String, String, u64)>;

#[derive(Debug, Deserialize)]
struct Filter {
    state: Option<String>,
    head: Option<String>,
    base: Option<String>,
    sort: Option<String>,
    direction: Option<String>,
}

/// `GET /repos/{owner}/{repo}/pulls`
pub(super) async fn list(call: Call, Path((owner, name)): Path<(String, String)>) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_PULLS)?;
    let filter: Filter = call.query()?;
    let page = call.page()?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let wanted = match filter.state.as_deref() {
        None | Some("open") => Some(PullRequestState::Open),
        Some("closed") => Some(PullRequestState::Closed),
        Some("all") => None,
        Some(_) => {
            return Err(ForgeError::field(FieldError::coded(
                "PullRequest",
                "state",
                "invalid",
            )));
        }
    };
    // Without an owner GitHub takes no notice of the filter.
    let head = filter.head.as_deref().and_then(|head| head.split_once(':'));
    let mut found: Vec<&PullRequest> = repository
        .pulls
        .values()
        .filter(|pull| wanted.is_none_or(|wanted| pull.state == wanted))
        .filter(|pull| filter.base.as_ref().is_none_or(|base| pull.base.branch == *base))
        .filter(|pull| {
            head.is_none_or(|(owner, branch)| {
                owner.eq_ignore_ascii_case(&repo.owner) && pull.head.branch == branch
            })
        })
        .collect();
    let by_update = filter.sort.as_deref() == Some("updated");
    found.sort_by_key(|pull| {
        (
            if by_update {
                pull.updated_at
            } else {
                pull.created_at
            },
            pull.number,
        )
    });
    // The newest come first, unless something but the age was asked for.
    let sorted = filter.sort.as_deref().is_some_and(|sort| sort != "created");
    let ascending = filter
        .direction
        .as_deref()
        .map_or(sorted, |direction| direction == "asc");
    if !ascending {
        found.reverse();
    }
    let shapes: Vec<Value> = page
        .cut(&found)
        .iter()
        .map(|pull| shaper.pull_request_simple(repository, pull))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), found.len()))
}

#[derive(Debug, Deserialize)]
pub(super) struct NewPull {
    title: Option<String>,
    head: Option<String>,
    base: Option<String>,
    body: Option<String>,
    #[serde(default)]
    draft: bool,
}

/// `POST /repos/{owner}/{repo}/pulls`
pub(super) async fn create(
    call: Call,
    Path((owner, name)): Path<(String, String)>,
    Body(new): Body<NewPull>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_PULLS)?;
    let missing = |field| ForgeError::field(FieldError::coded("PullRequest", field, "missing_field"));
    let opening = Opening {
        title: new.title.unwrap_or_default(),
        head: new.head.ok_or_else(|| missing("head"))?,
        base: new.base.ok_or_else(|| missing("base"))?,
        body: new.body,
        draft: new.draft,
    };
    let number = pull_requests::open(&call.inner, &repo, &call.actor, opening).await?;
    created(&full(&call, &repo, number).await?)
}

async fn full(call: &Call, repo: &RepoRef, number: u64) -> Result<Value, ForgeError> {
    let (pull, comparison) = with_comparison(&call.inner, repo, number).await?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let mergeable = shaper.mergeable(&pull, &comparison);
    Ok(shaper.pull_request(state.repository(&repo.key)?, &pull, &comparison, mergeable))
}

/// `GET /repos/{owner}/{repo}/pulls/{number}`
pub(super) async fn get(call: Call, Path((owner, name, number)): NumberPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_PULLS)?;
    if call.wants("diff") {
        return diff(&call, &repo, number).await;
    }
    let shape = full(&call, &repo, number).await?;
    {
        // Asking starts GitHub's background job; after some more reads its result is there.
        let mut state = call.inner.state();
        let pull = state.repository_mut(&repo.key)?.pull_mut(number)?;
        pull.unknown_reads = pull.unknown_reads.saturating_sub(1);
    }
    ok(&shape)
}

async fn diff(call: &Call, repo: &RepoRef, number: u64) -> Answer {
    let (pull, comparison) = with_comparison(&call.inner, repo, number).await?;
    let from = comparison.merge_base.clone().ok_or_else(ForgeError::not_found)?;
    let text = call.inner.git.diff_text(&repo.dir, &from, &pull.head.sha).await?;
    Ok((
        [(header::CONTENT_TYPE, "application/vnd.github.diff; charset=utf-8")],
        text,
    )
        .into_response())
}

#[derive(Debug, Deserialize)]
pub(super) struct PullEdit {
    title: Option<String>,
    body: Option<String>,
    base: Option<String>,
    state: Option<String>,
}

/// `PATCH /repos/{owner}/{repo}/pulls/{number}`
pub(super) async fn update(
    call: Call,
    Path((owner, name, number)): NumberPath,
    Body(wanted): Body<PullEdit>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_PULLS)?;
    let state = match wanted.state.as_deref() {
        None => None,
        Some("open") => Some(PullRequestState::Open),
        Some("closed") => Some(PullRequestState::Closed),
        Some(_) => {
            return Err(ForgeError::field(FieldError::coded(
                "PullRequest",
                "state",
                "invalid",
            )));
        }
    };
    let edit = Edit {
        title: wanted.title,
        body: wanted.body,
        base: wanted.base,
        state,
    };
    pull_requests::edit(&call.inner, &repo, &call.actor, number, edit).await?;
    ok(&full(&call, &repo, number).await?)
}

/// `GET /repos/{owner}/{repo}/pulls/{number}/files`
pub(super) async fn files(call: Call, Path((owner, name, number)): NumberPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_PULLS)?;
    let page = call.page()?;
    let (pull, comparison) = with_comparison(&call.inner, &repo, number).await?;
    let from = comparison.merge_base.as_deref();
    let mut all = call.inner.git.diff(&repo.dir, from, &pull.head.sha, true).await?;
    all.truncate(call.inner.options.limits.pull_request_files);
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let shapes: Vec<Value> = page
        .cut(&all)
        .iter()
        .map(|file| shaper.file(repository, file, &pull.head.sha))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), all.len()))
}

/// `GET /repos/{owner}/{repo}/pulls/{number}/commits`
pub(super) async fn commits(call: Call, Path((owner, name, number)): NumberPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_PULLS)?;
    let page = call.page()?;
    let (_, comparison) = with_comparison(&call.inner, &repo, number).await?;
    let most = call
        .inner
        .options
        .limits
        .pull_request_commits
        .min(comparison.commits.len());
    let all = comparison.commits.get(..most).unwrap_or_default();
    let commits = call.inner.git.commits(&repo.dir, page.cut(all)).await?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let shapes: Vec<Value> = commits
        .iter()
        .map(|commit| shaper.commit(repository, commit))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), all.len()))
}

#[derive(Debug, Deserialize)]
pub(super) struct Merge {
    sha: Option<String>,
    #[serde(default)]
    merge_method: MergeMethod,
    commit_title: Option<String>,
    commit_message: Option<String>,
}

/// `PUT /repos/{owner}/{repo}/pulls/{number}/merge`
pub(super) async fn merge(
    call: Call,
    Path((owner, name, number)): NumberPath,
    Body(wanted): Body<Merge>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_CONTENTS)?;
    let request = MergeRequest {
        method: wanted.merge_method,
        sha: wanted.sha,
        title: wanted.commit_title,
        message: wanted.commit_message,
    };
    let sha = merging::merge(&call.inner, &repo, &call.actor, number, request).await?;
    ok(&json!({"sha": sha, "merged": true, "message": "Pull Request successfully merged"}))
}

/// `GET /repos/{owner}/{repo}/pulls/{number}/merge`
pub(super) async fn is_merged(call: Call, Path((owner, name, number)): NumberPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_PULLS)?;
    if call.inner.state().repository(&repo.key)?.pull(number)?.merged {
        no_content()
    } else {
        Err(ForgeError::not_found())
    }
}

/// Lists the pull requests that brought a commit in, or that have it.
pub(super) async fn of_commit(call: &Call, repo: &RepoRef, sha: &str) -> Result<Response, ForgeError> {
    let page = call.page()?;
    let candidates: Vec<_> = {
        let state = call.inner.state();
        let repository = state.repository(&repo.key)?;
        repository
            .pulls
            .values()
            .map(|pull| (pull.number, ends(repository, pull), pull.merge_commit_sha.clone()))
            .collect()
    };
    let mut found = Vec::new();
    for (number, (base, head), merged_as) in candidates {
        let brought = merged_as.as_deref() == Some(sha) || head == sha;
        if brought || has(call, repo, &base, &head, sha).await? {
            found.push(number);
        }
    }
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let shapes: Vec<Value> = page
        .cut(&found)
        .iter()
        .filter_map(|number| repository.pulls.get(number))
        .map(|pull| shaper.pull_request_simple(repository, pull))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), found.len()))
}

async fn has(call: &Call, repo: &RepoRef, base: &str, head: &str, sha: &str) -> Result<bool, ForgeError> {
    let comparison = pull_requests::compare(&call.inner, repo, base, head).await?;
    Ok(comparison.commits.iter().any(|commit| commit == sha))
}
