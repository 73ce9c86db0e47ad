//! Repositories and accounts.

use axum::extract::Path;
use serde_json::json;

use super::call::Call;
use super::{Answer, ok};
use crate::auth::{Actor, Need};
use crate::error::ForgeError;
use crate::model::Access;

/// `GET /repos/{owner}/{repo}`
pub(super) async fn get(call: Call, Path((owner, name)): Path<(String, String)>) -> Answer {
    let repo = call.repo(&owner, &name, Need::METADATA)?;
    let state = call.inner.state();
    ok(&call
        .inner
        .shaper(&state)
        .full_repository(state.repository(&repo.key)?, &call.actor))
}

/// `GET /user`
pub(super) async fn user(call: Call) -> Answer {
    match &call.actor {
        Actor::Anonymous => Err(ForgeError::Unauthorized("Requires authentication".into())),
        Actor::User(login) => {
            let state = call.inner.state();
            ok(&call.inner.shaper(&state).profile(login))
        }
        Actor::App(_) | Actor::Installation { .. } => Err(ForgeError::Forbidden(
            "Resource not accessible by integration".into(),
        )),
    }
}

/// `GET /users/{login}`
pub(super) async fn user_by_login(call: Call, Path(login): Path<String>) -> Answer {
    let state = call.inner.state();
    if !state.users.contains_key(&login.to_lowercase()) {
        return Err(ForgeError::not_found());
    }
    ok(&call.inner.shaper(&state).profile(&login))
}

/// `GET /repos/{owner}/{repo}/collaborators/{login}/permission`
pub(super) async fn permission_of(
    call: Call,
    Path((owner, name, login)): Path<(String, String, String)>,
) -> Answer {
    let repo = call.repo(&owner, &name, Need::METADATA)?;
    let state = call.inner.state();
    if !state.users.contains_key(&login.to_lowercase()) {
        return Err(ForgeError::not_found());
    }
    let access = state.repository(&repo.key)?.access_of(&login);
    let mut user = call.inner.shaper(&state).user(&login);
    user["role_name"] = access.role().into();
    user["permissions"] = json!({
        "pull": access >= Access::Read,
        "triage": access >= Access::Write,
        "push": access >= Access::Write,
        "maintain": access >= Access::Maintain,
        "admin": access >= Access::Admin,
    });
    ok(&json!({
        "permission": access.permission(),
        "role_name": access.role(),
        "user": user,
    }))
}
