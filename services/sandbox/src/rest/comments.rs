//! Comments in the conversation of a pull request.

use axum::extract::Path;
use serde::Deserialize;
use serde_json::Value;

use super::call::{Body, Call};
use super::{Answer, created, no_content, ok};
use crate::auth::{Actor, Need};
use crate::clock::Timestamp;
use crate::error::{FieldError, ForgeError};
use crate::model::{Access, Comment};
use crate::operations::conversation;
use crate::state::RepoRef;

type IdPath = Path<(String, String, u64)>;

fn shaped(call: &Call, repo: &RepoRef, number: u64, comment: &Comment) -> Result<Value, ForgeError> {
    let state = call.inner.state();
    let repository = state.repository(&repo.key)?;
    Ok(call
        .inner
        .shaper(&state)
        .comment(repository, repository.pull(number)?, comment))
}

#[derive(Debug, Deserialize)]
struct Since {
    since: Option<String>,
}

/// `GET /repos/{owner}/{repo}/issues/{number}/comments`
pub(super) async fn list(call: Call, Path((owner, name, number)): IdPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_ISSUES)?;
    let page = call.page()?;
    let since = call.query::<Since>()?.since.as_deref().and_then(Timestamp::parse);
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let pull = repository.pull(number)?;
    let found: Vec<&Comment> = pull
        .comments
        .iter()
        .filter(|comment| since.is_none_or(|since| comment.updated_at >= since))
        .collect();
    let shapes: Vec<Value> = page
        .cut(&found)
        .iter()
        .map(|comment| shaper.comment(repository, pull, comment))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), found.len()))
}

#[derive(Debug, Deserialize)]
pub(super) struct Text {
    body: Option<String>,
}

impl Text {
    fn body(self) -> Result<String, ForgeError> {
        let missing = || ForgeError::field(FieldError::coded("IssueComment", "body", "missing_field"));
        self.body.ok_or_else(missing)
    }
}

/// `POST /repos/{owner}/{repo}/issues/{number}/comments`
pub(super) async fn create(
    call: Call,
    Path((owner, name, number)): IdPath,
    Body(text): Body<Text>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_ISSUES)?;
    let comment = conversation::comment(&call.inner, &repo, &call.actor, number, text.body()?).await?;
    created(&shaped(&call, &repo, number, &comment)?)
}

fn find(call: &Call, repo: &RepoRef, id: u64) -> Result<(u64, Comment), ForgeError> {
    let state = call.inner.state();
    let repository = state.repository(&repo.key)?;
    repository
        .pulls
        .values()
        .find_map(|pull| {
            let comment = pull.comments.iter().find(|comment| comment.id == id)?;
            Some((pull.number, comment.clone()))
        })
        .ok_or_else(ForgeError::not_found)
}

/// Refuses whoever did not write the comment and may not change other people's.
fn check_owner(call: &Call, repo: &RepoRef, comment: &Comment) -> Result<(), ForgeError> {
    let own = comment.author.eq_ignore_ascii_case(call.actor.login());
    let admin = match &call.actor {
        Actor::User(login) => call.inner.state().repository(&repo.key)?.access_of(login) >= Access::Write,
        _ => false,
    };
    if own || admin {
        Ok(())
    } else {
        Err(ForgeError::Forbidden(
            "Resource not accessible by integration".into(),
        ))
    }
}

/// `GET /repos/{owner}/{repo}/issues/comments/{id}`
pub(super) async fn get(call: Call, Path((owner, name, id)): IdPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_ISSUES)?;
    let (number, comment) = find(&call, &repo, id)?;
    ok(&shaped(&call, &repo, number, &comment)?)
}

/// `PATCH /repos/{owner}/{repo}/issues/comments/{id}`
pub(super) async fn update(call: Call, Path((owner, name, id)): IdPath, Body(text): Body<Text>) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_ISSUES)?;
    check_owner(&call, &repo, &find(&call, &repo, id)?.1)?;
    let (number, comment) =
        conversation::edit_comment(&call.inner, &repo, &call.actor, id, text.body()?).await?;
    ok(&shaped(&call, &repo, number, &comment)?)
}

/// `DELETE /repos/{owner}/{repo}/issues/comments/{id}`
pub(super) async fn remove(call: Call, Path((owner, name, id)): IdPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::WRITE_ISSUES)?;
    check_owner(&call, &repo, &find(&call, &repo, id)?.1)?;
    conversation::delete_comment(&call.inner, &repo, &call.actor, id).await?;
    no_content()
}

/// `GET /repos/{owner}/{repo}/issues/comments/{id}/reactions`
pub(super) async fn reactions(call: Call, Path((owner, name, id)): IdPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_ISSUES)?;
    let page = call.page()?;
    let (_, comment) = find(&call, &repo, id)?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let shapes: Vec<Value> = page
        .cut(&comment.reactions)
        .iter()
        .map(|reaction| shaper.reaction(reaction))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), comment.reactions.len()))
}

#[derive(Debug, Deserialize)]
pub(super) struct NewReaction {
    #[serde(default)]
    content: String,
}

/// `POST /repos/{owner}/{repo}/issues/comments/{id}/reactions`
pub(super) async fn react(
    call: Call,
    Path((owner, name, id)): IdPath,
    Body(new): Body<NewReaction>,
) -> Answer {
    // Whoever may look may react; an App needs the permission to write.
    let need = match &call.actor {
        Actor::User(_) => Need::READ_ISSUES,
        _ => Need::WRITE_ISSUES,
    };
    let repo = call.repo(&owner, &name, need)?;
    let (reaction, is_new) = conversation::react(&call.inner, &repo, &call.actor, id, &new.content)?;
    let state = call.inner.state();
    let shape = call.inner.shaper(&state).reaction(&reaction);
    if is_new { created(&shape) } else { ok(&shape) }
}
