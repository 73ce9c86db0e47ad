//! Check runs.

use axum::extract::Path;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Body, Call};
use super::{Answer, created, ok};
use crate::auth::{Actor, Need, authorize};
use crate::error::ForgeError;
use crate::model::{CheckAnnotation, CheckRun};
use crate::operations::checks::{self, CheckEdit, OutputEdit};
use crate::state::RepoRef;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Output {
    title: Option<String>,
    summary: Option<String>,
    text: Option<String>,
    annotations: Vec<Annotation>,
}

#[derive(Debug, Deserialize)]
struct Annotation {
    path: String,
    start_line: u32,
    end_line: u32,
    annotation_level: String,
    title: Option<String>,
    message: String,
}

impl From<Annotation> for CheckAnnotation {
    fn from(annotation: Annotation) -> Self {
        Self {
            path: annotation.path,
            start_line: annotation.start_line,
            end_line: annotation.end_line,
            level: annotation.annotation_level,
            title: annotation.title,
            message: annotation.message,
        }
    }
}

impl From<Output> for OutputEdit {
    fn from(output: Output) -> Self {
        Self {
            title: output.title,
            summary: output.summary,
            text: output.text,
            annotations: output.annotations.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    head_sha: Option<String>,
    name: Option<String>,
    external_id: Option<String>,
    details_url: Option<String>,
    status: Option<String>,
    conclusion: Option<String>,
    output: Option<Output>,
}

impl Wanted {
    fn edit(self) -> CheckEdit {
        CheckEdit {
            name: self.name,
            external_id: self.external_id,
            details_url: self.details_url,
            status: self.status,
            conclusion: self.conclusion,
            output: self.output.map(Into::into),
        }
    }
}

/// Only Apps have check runs, as on GitHub.
fn check_app(call: &Call) -> Result<(), ForgeError> {
    match call.actor {
        Actor::Installation { .. } => Ok(()),
        _ => Err(ForgeError::Forbidden(
            "You must authenticate via a GitHub App.".into(),
        )),
    }
}

fn shaped(call: &Call, repo: &RepoRef, run: &CheckRun) -> Result<Value, ForgeError> {
    let state = call.inner.state();
    Ok(call
        .inner
        .shaper(&state)
        .check_run(state.repository(&repo.key)?, run))
}

/// `POST /repos/{owner}/{repo}/check-runs`
pub(super) async fn create(
    call: Call,
    Path((owner, name)): Path<(String, String)>,
    Body(wanted): Body<Wanted>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_CHECKS)?;
    check_app(&call)?;
    let sha = wanted.head_sha.clone().unwrap_or_default();
    let run = checks::create_check(&call.inner, &repo, &call.actor, &sha, wanted.edit()).await?;
    created(&shaped(&call, &repo, &run)?)
}

/// `PATCH /repos/{owner}/{repo}/check-runs/{id}`
pub(super) async fn update(
    call: Call,
    Path((owner, name, id)): Path<(String, String, u64)>,
    Body(wanted): Body<Wanted>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_CHECKS)?;
    check_app(&call)?;
    let run = checks::update_check(&call.inner, &repo, &call.actor, id, wanted.edit()).await?;
    ok(&shaped(&call, &repo, &run)?)
}

/// `GET /repos/{owner}/{repo}/check-runs/{id}`
pub(super) async fn get(call: Call, Path((owner, name, id)): Path<(String, String, u64)>) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_CHECKS)?;
    let run = {
        let state = call.inner.state();
        let repository = state.repository(&repo.key)?;
        repository
            .check_runs
            .get(&id)
            .cloned()
            .ok_or_else(ForgeError::not_found)?
    };
    ok(&shaped(&call, &repo, &run)?)
}

/// `GET /repos/{owner}/{repo}/check-runs/{id}/annotations`
pub(super) async fn annotations(call: Call, Path((owner, name, id)): Path<(String, String, u64)>) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_CHECKS)?;
    let page = call.page()?;
    let (shapes, total) = {
        let state = call.inner.state();
        let shaper = call.inner.shaper(&state);
        let repository = state.repository(&repo.key)?;
        let run = repository.check_runs.get(&id).ok_or_else(ForgeError::not_found)?;
        let shapes: Vec<Value> = page
            .cut(&run.annotations)
            .iter()
            .map(|annotation| shaper.check_annotation(repository, run, annotation))
            .collect();
        (shapes, run.annotations.len())
    };
    Ok(page.link(ok(&shapes.into())?, &call.address(), total))
}

/// Which of the check runs of a commit are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Which {
    #[default]
    Latest,
    All,
}

#[derive(Debug, Deserialize)]
struct Filter {
    check_name: Option<String>,
    status: Option<String>,
    app_id: Option<u64>,
    #[serde(default)]
    filter: Which,
}

/// `GET /repos/{owner}/{repo}/commits/{ref}/check-runs`
pub(super) fn of_commit(call: &Call, repo: &RepoRef, sha: &str) -> Answer {
    let page = call.page()?;
    let filter: Filter = call.query()?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    authorize(&call.actor, repository, Need::READ_CHECKS)?;
    let of_commit: Vec<&CheckRun> = match filter.filter {
        Which::Latest => checks::latest(repository, sha).collect(),
        Which::All => checks::of_commit(repository, sha).collect(),
    };
    let found: Vec<&CheckRun> = of_commit
        .into_iter()
        .filter(|run| filter.check_name.as_ref().is_none_or(|name| run.name == *name))
        .filter(|run| filter.status.as_ref().is_none_or(|status| run.status == *status))
        .filter(|run| filter.app_id.is_none_or(|app| run.app == Some(app)))
        .collect();
    let shapes: Vec<Value> = page
        .cut(&found)
        .iter()
        .map(|run| shaper.check_run(repository, run))
        .collect();
    let body = json!({"total_count": found.len(), "check_runs": shapes});
    Ok(page.link(ok(&body)?, &call.address(), found.len()))
}
