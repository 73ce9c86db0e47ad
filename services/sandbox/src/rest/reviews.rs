//! Reviews, and asking for them.

use axum::extract::Path;
use serde::Deserialize;
use serde_json::Value;

use super::call::{Body, Call};
use super::{Answer, created, ok};
use crate::auth::Need;
use crate::error::{FieldError, ForgeError};
use crate::model::ReviewState;
use crate::operations::conversation::{self, Reviewing};

type NumberPath = Path<(String, String, u64)>;

/// `GET /repos/{owner}/{repo}/pulls/{number}/reviews`
pub(super) async fn list(call: Call, Path((owner, name, number)): NumberPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_PULLS)?;
    let page = call.page()?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let pull = repository.pull(number)?;
    let shapes: Vec<Value> = page
        .cut(&pull.reviews)
        .iter()
        .map(|review| shaper.review(repository, pull, review))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), pull.reviews.len()))
}

#[derive(Debug, Deserialize)]
pub(super) struct NewReview {
    event: Option<String>,
    body: Option<String>,
    commit_id: Option<String>,
}

/// `POST /repos/{owner}/{repo}/pulls/{number}/reviews`
pub(super) async fn create(
    call: Call,
    Path((owner, name, number)): NumberPath,
    Body(new): Body<NewReview>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_PULLS)?;
    let review_state = match new.event.as_deref() {
        None | Some("PENDING") => ReviewState::Pending,
        Some("APPROVE") => ReviewState::Approved,
        Some("REQUEST_CHANGES") => ReviewState::ChangesRequested,
        Some("COMMENT") => ReviewState::Commented,
        Some(_) => {
            return Err(ForgeError::field(FieldError::coded(
                "PullRequestReview",
                "event",
                "invalid",
            )));
        }
    };
    let reviewing = Reviewing {
        state: review_state,
        body: new.body.unwrap_or_default(),
        commit_id: new.commit_id,
    };
    let review = conversation::review(&call.inner, &repo, &call.actor, number, reviewing).await?;
    let state = call.inner.state();
    let repository = state.repository(&repo.key)?;
    ok(&call
        .inner
        .shaper(&state)
        .review(repository, repository.pull(number)?, &review))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reviewers {
    reviewers: Vec<String>,
    team_reviewers: Vec<String>,
}

/// `POST /repos/{owner}/{repo}/pulls/{number}/requested_reviewers`
pub(super) async fn request(
    call: Call,
    Path((owner, name, number)): NumberPath,
    Body(wanted): Body<Reviewers>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_PULLS)?;
    // There are no teams here: asking for one is asking for somebody who is no collaborator.
    let all = [
        wanted.reviewers,
        wanted
            .team_reviewers
            .iter()
            .map(|team| format!("team:{team}"))
            .collect(),
    ];
    conversation::request_reviewers(&call.inner, &repo, &call.actor, number, &all.concat()).await?;
    let state = call.inner.state();
    let repository = state.repository(&repo.key)?;
    created(
        &call
            .inner
            .shaper(&state)
            .pull_request_simple(repository, repository.pull(number)?),
    )
}
