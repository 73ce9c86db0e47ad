//! Commit statuses.

use std::sync::Arc;

use serde_json::Map;

use crate::auth::Actor;
use crate::change::Change;
use crate::clock::Timestamp;
use crate::error::{FieldError, ForgeError};
use crate::forge::Inner;
use crate::model::Status;
use crate::state::RepoRef;
use crate::webhook::payload;

/// What somebody who sets a status gives.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) state: String,
    pub(crate) context: String,
    pub(crate) description: Option<String>,
    pub(crate) target_url: Option<String>,
}

/// Sets a status on a commit and gives it.
pub(crate) async fn set(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    sha: &str,
    setting: Setting,
) -> Result<Status, ForgeError> {
    if !matches!(
        setting.state.as_str(),
        "error" | "failure" | "pending" | "success"
    ) {
        return Err(ForgeError::field(FieldError::coded("Status", "state", "invalid")));
    }
    let limits = &inner.options.limits;
    let longest = limits.status_description_characters;
    if setting
        .description
        .as_ref()
        .is_some_and(|text| text.chars().count() > longest)
    {
        let message = format!("description is too long (maximum is {longest} characters)");
        let error = FieldError {
            field: Some("description"),
            ..FieldError::custom("Status", message)
        };
        return Err(ForgeError::field(error));
    }
    let web = |url: &str| url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
    if setting.target_url.as_deref().is_some_and(|url| !web(url)) {
        let message = "target_url must use http(s) scheme";
        let error = FieldError {
            field: Some("target_url"),
            ..FieldError::custom("Status", message)
        };
        return Err(ForgeError::field(error));
    }
    let unknown = || ForgeError::Unprocessable(format!("No commit found for SHA: {sha}"));
    let found = if crate::git::is_oid(sha) {
        inner.git.resolve(&repo.dir, sha).await?
    } else {
        None
    };
    let sha = found.ok_or_else(unknown)?;
    let status = {
        let mut state = inner.state();
        let id = state.fresh_id();
        let repository = state.repository_mut(&repo.key)?;
        let same = |status: &&Status| status.sha == sha && status.context == setting.context;
        if repository.statuses.iter().filter(same).count() >= limits.statuses_per_context {
            let message = "This SHA and context has reached the maximum number of statuses.";
            return Err(ForgeError::field(FieldError::custom("Status", message)));
        }
        let status = Status {
            id,
            sha: sha.clone(),
            state: setting.state,
            context: setting.context,
            description: setting.description,
            target_url: setting.target_url.filter(|url| !url.is_empty()),
            creator: actor.login().to_owned(),
            created_at: Timestamp::now(),
        };
        repository.statuses.push(status.clone());
        status
    };
    if payload::is_heard(inner, repo) {
        announce(inner, repo, actor, &status).await?;
    }
    inner.tell(Change::Status {
        repository: repo.full_name.clone(),
        sha,
        context: status.context.clone(),
        state: status.state.clone(),
    });
    Ok(status)
}

async fn announce(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    status: &Status,
) -> Result<(), ForgeError> {
    let commit = inner.git.commit(&repo.dir, &status.sha).await?;
    let mut body = Map::new();
    {
        let state = inner.state();
        let shaper = inner.shaper(&state);
        let repository = state.repository(&repo.key)?;
        shaper.status_event(repository, status, &commit, &mut body);
    }
    payload::send(inner, repo, "status", None, actor.login(), body)
}
