//! Commit statuses.

use axum::extract::Path;
use serde::Deserialize;
use serde_json::Value;

use super::call::{Body, Call};
use super::{Answer, created, ok};
use crate::auth::{Need, authorize};
use crate::error::ForgeError;
use crate::model::Status;
use crate::operations::statuses::{self, Setting};
use crate::state::RepoRef;

#[derive(Debug, Deserialize)]
pub(super) struct NewStatus {
    #[serde(default)]
    state: String,
    context: Option<String>,
    description: Option<String>,
    target_url: Option<String>,
}

/// `POST /repos/{owner}/{repo}/statuses/{sha}`
pub(super) async fn create(
    call: Call,
    Path((owner, name, sha)): Path<(String, String, String)>,
    Body(new): Body<NewStatus>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_STATUSES)?;
    let setting = Setting {
        state: new.state,
        context: new.context.unwrap_or_else(|| "default".into()),
        description: new.description,
        target_url: new.target_url,
    };
    let status = statuses::set(&call.inner, &repo, &call.actor, &sha, setting).await?;
    let state = call.inner.state();
    created(
        &call
            .inner
            .shaper(&state)
            .status(state.repository(&repo.key)?, &status),
    )
}

/// `GET /repos/{owner}/{repo}/commits/{ref}/status`
pub(super) fn combined(call: &Call, repo: &RepoRef, sha: &str) -> Answer {
    let page = call.page()?;
    let state = call.inner.state();
    let repository = state.repository(&repo.key)?;
    authorize(&call.actor, repository, Need::READ_STATUSES)?;
    let latest = repository.latest_statuses(sha);
    let shape = call
        .inner
        .shaper(&state)
        .combined_status(repository, sha, page.cut(&latest), &latest);
    Ok(page.link(ok(&shape)?, &call.address(), latest.len()))
}

/// `GET /repos/{owner}/{repo}/commits/{ref}/statuses`
pub(super) fn list(call: &Call, repo: &RepoRef, sha: &str) -> Result<axum::response::Response, ForgeError> {
    let page = call.page()?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    authorize(&call.actor, repository, Need::READ_STATUSES)?;
    let all: Vec<&Status> = repository
        .statuses
        .iter()
        .rev()
        .filter(|status| status.sha == sha)
        .collect();
    let shapes: Vec<Value> = page
        .cut(&all)
        .iter()
        .map(|status| shaper.status(repository, status))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), all.len()))
}
