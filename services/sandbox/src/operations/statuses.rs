//! Commit statuses and check runs.

use std::sync::Arc;

use serde_json::Map;

use crate::auth::Actor;
use crate::change::Change;
use crate::clock::Timestamp;
use crate::error::{FieldError, ForgeError};
use crate::forge::Inner;
use crate::model::{CheckRun, Status};
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

/// What somebody who makes or changes a check run gives; what is missing stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct CheckEdit {
    pub(crate) name: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) details_url: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) conclusion: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) summary: Option<String>,
    pub(crate) text: Option<String>,
}

const CONCLUSIONS: [&str; 7] = [
    "success",
    "failure",
    "neutral",
    "cancelled",
    "skipped",
    "timed_out",
    "action_required",
];

fn apply(run: &mut CheckRun, edit: CheckEdit) -> Result<(), ForgeError> {
    let invalid = |field| ForgeError::field(FieldError::coded("CheckRun", field, "invalid"));
    let replace = |old: &mut Option<String>, new: Option<String>| {
        if new.is_some() {
            *old = new;
        }
    };
    if let Some(status) = edit.status {
        if !matches!(status.as_str(), "queued" | "in_progress" | "completed") {
            return Err(invalid("status"));
        }
        run.status = status;
    }
    if let Some(conclusion) = &edit.conclusion {
        if !CONCLUSIONS.contains(&conclusion.as_str()) {
            return Err(invalid("conclusion"));
        }
        run.status = "completed".into();
    }
    replace(&mut run.conclusion, edit.conclusion);
    if run.status == "completed" {
        if run.conclusion.is_none() {
            return Err(invalid("conclusion"));
        }
        run.completed_at = Some(Timestamp::now());
    } else {
        run.conclusion = None;
        run.completed_at = None;
    }
    if let Some(name) = edit.name {
        run.name = name;
    }
    replace(&mut run.external_id, edit.external_id);
    replace(&mut run.details_url, edit.details_url);
    replace(&mut run.title, edit.title);
    replace(&mut run.summary, edit.summary);
    replace(&mut run.text, edit.text);
    Ok(())
}

/// Makes a check run on a commit and gives it.
pub(crate) async fn create_check(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    head_sha: &str,
    edit: CheckEdit,
) -> Result<CheckRun, ForgeError> {
    let found = if crate::git::is_oid(head_sha) {
        inner.git.resolve(&repo.dir, head_sha).await?
    } else {
        None
    };
    let head_sha =
        found.ok_or_else(|| ForgeError::Unprocessable(format!("No commit found for SHA: {head_sha}")))?;
    if edit.name.as_deref().is_none_or(str::is_empty) {
        return Err(ForgeError::field(FieldError::coded(
            "CheckRun",
            "name",
            "missing_field",
        )));
    }
    let run = {
        let mut state = inner.state();
        let mut run = CheckRun {
            id: state.fresh_id(),
            head_sha,
            name: String::new(),
            external_id: None,
            details_url: None,
            status: "queued".into(),
            conclusion: None,
            title: None,
            summary: None,
            text: None,
            started_at: Timestamp::now(),
            completed_at: None,
            app: actor.app(),
        };
        apply(&mut run, edit)?;
        state
            .repository_mut(&repo.key)?
            .check_runs
            .insert(run.id, run.clone());
        run
    };
    announce_check(inner, repo, actor, &run, "created")?;
    Ok(run)
}

/// Changes a check run and gives it.
pub(crate) async fn update_check(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    id: u64,
    edit: CheckEdit,
) -> Result<CheckRun, ForgeError> {
    let (run, completed) = {
        let mut state = inner.state();
        let repository = state.repository_mut(&repo.key)?;
        let run = repository
            .check_runs
            .get_mut(&id)
            .ok_or_else(ForgeError::not_found)?;
        let before = run.status.clone();
        let mut changed = run.clone();
        apply(&mut changed, edit)?;
        *run = changed.clone();
        let completed = before != "completed" && changed.status == "completed";
        (changed, completed)
    };
    if completed {
        announce_check(inner, repo, actor, &run, "completed")?;
    }
    Ok(run)
}

fn announce_check(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    run: &CheckRun,
    action: &'static str,
) -> Result<(), ForgeError> {
    if payload::is_heard(inner, repo) {
        let mut body = Map::new();
        {
            let state = inner.state();
            let shaper = inner.shaper(&state);
            let repository = state.repository(&repo.key)?;
            body.insert("check_run".into(), shaper.check_run(repository, run));
        }
        payload::send(inner, repo, "check_run", Some(action), actor.login(), body)?;
    }
    inner.tell(Change::CheckRun {
        repository: repo.full_name.clone(),
        id: run.id,
    });
    Ok(())
}
