//! Branches and their protection.

use axum::extract::Path;
use serde_json::Value;

use super::call::Call;
use super::pipeline::RouteName;
use super::{Answer, ok};
use crate::auth::Need;
use crate::error::ForgeError;

/// `GET /repos/{owner}/{repo}/branches`
pub(super) async fn list(call: Call, Path((owner, name)): Path<(String, String)>) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_CONTENTS)?;
    let page = call.page()?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let all: Vec<(&str, &String)> = repository
        .refs
        .iter()
        .filter_map(|(name, sha)| Some((name.strip_prefix("refs/heads/")?, sha)))
        .collect();
    let shapes: Vec<Value> = page
        .cut(&all)
        .iter()
        .map(|(name, sha)| shaper.short_branch(repository, name, sha))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), all.len()))
}

/// `GET /repos/{owner}/{repo}/branches/{branch}` and `/protection` below it: a branch may contain slashes itself.
pub(super) async fn dispatch(
    call: Call,
    Path((owner, name, rest)): Path<(String, String, String)>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::METADATA)?;
    let not_found = || ForgeError::NotFound("Branch not found".into());
    if let Some(branch) = rest.strip_suffix("/protection") {
        call.repo(&owner, &name, Need::READ_ADMINISTRATION)?;
        let state = call.inner.state();
        let repository = state.repository(&repo.key)?;
        repository.branch(branch).ok_or_else(not_found)?;
        let shape = call.inner.shaper(&state).protection(repository, branch);
        let mut answer = ok(&shape.ok_or_else(|| ForgeError::NotFound("Branch not protected".into()))?)?;
        answer
            .extensions_mut()
            .insert(RouteName("/branches/{branch}/protection"));
        return Ok(answer);
    }
    call.repo(&owner, &name, Need::READ_CONTENTS)?;
    let tip = call
        .inner
        .state()
        .repository(&repo.key)?
        .branch(&rest)
        .cloned()
        .ok_or_else(not_found)?;
    let commit = call.inner.git.commit(&repo.dir, &tip).await?;
    let state = call.inner.state();
    let mut answer = ok(&call
        .inner
        .shaper(&state)
        .branch(state.repository(&repo.key)?, &rest, &commit))?;
    answer.extensions_mut().insert(RouteName("/branches/{branch}"));
    Ok(answer)
}
