//! Labels and assignees, which GitHub keeps with issues: every pull request is one.

use axum::extract::Path;
use serde::Deserialize;
use serde_json::Value;

use super::call::{Body, Call};
use super::{Answer, created, ok};
use crate::auth::Need;
use crate::error::ForgeError;
use crate::operations::conversation;
use crate::state::RepoRef;

type NumberPath = Path<(String, String, u64)>;
type RepoPath = Path<(String, String)>;

/// `GET /repos/{owner}/{repo}/issues/{number}`
pub(super) async fn get(call: Call, Path((owner, name, number)): NumberPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_ISSUES)?;
    ok(&shaped(&call, &repo, number)?)
}

fn shaped(call: &Call, repo: &RepoRef, number: u64) -> Result<Value, ForgeError> {
    let state = call.inner.state();
    let repository = state.repository(&repo.key)?;
    Ok(call
        .inner
        .shaper(&state)
        .issue(repository, repository.pull(number)?))
}

/// Shapes the labels that a pull request has now.
fn shaped_labels(call: &Call, repo: &RepoRef, number: u64) -> Answer {
    let state = call.inner.state();
    let repository = state.repository(&repo.key)?;
    let names = &repository.pull(number)?.labels;
    ok(&call.inner.shaper(&state).labels(repository, names).into())
}

/// `GET /repos/{owner}/{repo}/issues/{number}/labels`
pub(super) async fn labels(call: Call, Path((owner, name, number)): NumberPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_ISSUES)?;
    shaped_labels(&call, &repo, number)
}

/// Labels to put on, in one of the forms that GitHub takes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Labels {
    Plain(Vec<LabelName>),
    Wrapped { labels: Vec<LabelName> },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum LabelName {
    Plain(String),
    Wrapped { name: String },
}

/// `POST /repos/{owner}/{repo}/issues/{number}/labels`
pub(super) async fn add_labels(
    call: Call,
    Path((owner, name, number)): NumberPath,
    Body(labels): Body<Labels>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_ISSUES)?;
    let (Labels::Plain(labels) | Labels::Wrapped { labels }) = labels;
    let names: Vec<String> = labels
        .into_iter()
        .map(|(LabelName::Plain(name) | LabelName::Wrapped { name })| name)
        .collect();
    conversation::add_labels(&call.inner, &repo, &call.actor, number, &names).await?;
    shaped_labels(&call, &repo, number)
}

/// `DELETE /repos/{owner}/{repo}/issues/{number}/labels/{name}`
pub(super) async fn remove_label(
    call: Call,
    Path((owner, name, number, label)): Path<(String, String, u64, String)>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_ISSUES)?;
    conversation::remove_label(&call.inner, &repo, &call.actor, number, &label).await?;
    shaped_labels(&call, &repo, number)
}

/// `GET /repos/{owner}/{repo}/labels`
pub(super) async fn repository_labels(call: Call, Path((owner, name)): RepoPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_ISSUES)?;
    let page = call.page()?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let all: Vec<_> = repository.labels.values().collect();
    let shapes: Vec<Value> = page
        .cut(&all)
        .iter()
        .map(|label| shaper.label(repository, label))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), all.len()))
}

#[derive(Debug, Deserialize)]
pub(super) struct NewLabel {
    #[serde(default)]
    name: String,
    color: Option<String>,
    description: Option<String>,
}

/// `POST /repos/{owner}/{repo}/labels`
pub(super) async fn create_label(
    call: Call,
    Path((owner, name)): RepoPath,
    Body(new): Body<NewLabel>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_ISSUES)?;
    let label = conversation::create_label(
        &call.inner,
        &repo,
        &new.name,
        new.color.as_deref(),
        new.description,
    )?;
    let state = call.inner.state();
    created(
        &call
            .inner
            .shaper(&state)
            .label(state.repository(&repo.key)?, &label),
    )
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Assignees {
    assignees: Vec<String>,
}

/// `POST /repos/{owner}/{repo}/issues/{number}/assignees`
pub(super) async fn assign(
    call: Call,
    Path((owner, name, number)): NumberPath,
    Body(wanted): Body<Assignees>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_ISSUES)?;
    conversation::assign(&call.inner, &repo, &call.actor, number, &wanted.assignees).await?;
    created(&shaped(&call, &repo, number)?)
}
