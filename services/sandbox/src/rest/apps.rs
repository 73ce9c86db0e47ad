//! Apps, installations and installation tokens.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use axum::extract::Path;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Body, Call};
use super::{Answer, created, ok};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::ids;
use crate::model::Permissions;
use crate::state::TokenOwner;

/// GitHub narrows a token to at most this many repositories.
const REPOSITORIES_OF_A_TOKEN: usize = 500;

/// `GET /app`
pub(super) async fn authenticated(call: Call) -> Answer {
    let app = call.actor.as_app()?;
    let state = call.inner.state();
    let count = state
        .installations
        .values()
        .filter(|installation| installation.app == app)
        .count();
    let app = state.apps.get(&app).ok_or_else(ForgeError::not_found)?;
    let mut shape = call.inner.shaper(&state).app(app);
    shape["installations_count"] = count.into();
    ok(&shape)
}

/// `GET /app/installations`
pub(super) async fn installations(call: Call) -> Answer {
    let app = call.actor.as_app()?;
    let page = call.page()?;
    let (shapes, total) = {
        let state = call.inner.state();
        let shaper = call.inner.shaper(&state);
        let all: Vec<Value> = state
            .installations
            .values()
            .filter(|installation| installation.app == app)
            .filter_map(|installation| shaper.installation(installation))
            .collect();
        (page.cut(&all).to_vec(), all.len())
    };
    Ok(page.link(ok(&shapes.into())?, &call.address(), total))
}

/// `GET /app/installations/{id}`
pub(super) async fn installation(call: Call, Path(id): Path<u64>) -> Answer {
    let app = call.actor.as_app()?;
    let state = call.inner.state();
    let found = state
        .installations
        .get(&id)
        .filter(|installation| installation.app == app);
    let shape = found.and_then(|found| call.inner.shaper(&state).installation(found));
    ok(&shape.ok_or_else(ForgeError::not_found)?)
}

/// `GET /repos/{owner}/{repo}/installation`
pub(super) async fn of_repository(call: Call, Path((owner, name)): Path<(String, String)>) -> Answer {
    let app = call.actor.as_app()?;
    let state = call.inner.state();
    let id = state.repository(&format!("{owner}/{name}"))?.id;
    let found = state
        .installations
        .values()
        .find(|installation| installation.app == app && installation.repositories.contains(&id));
    let shape = found.and_then(|found| call.inner.shaper(&state).installation(found));
    ok(&shape.ok_or_else(ForgeError::not_found)?)
}

/// What a token is to be narrowed to.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Narrowing {
    repositories: Option<Vec<String>>,
    repository_ids: Option<Vec<u64>>,
    permissions: Option<Permissions>,
}

/// `POST /app/installations/{id}/access_tokens`
pub(super) async fn access_token(
    call: Call,
    Path(id): Path<u64>,
    Body(narrowing): Body<Narrowing>,
) -> Answer {
    let app_id = call.actor.as_app()?;
    let token = ids::token("ghs")?;
    let lifetime = *call
        .inner
        .token_lifetime
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let expires_at = Timestamp::now().after(lifetime);
    let mut state = call.inner.state();
    let installation = state
        .installations
        .get(&id)
        .filter(|installation| installation.app == app_id)
        .cloned()
        .ok_or_else(ForgeError::not_found)?;
    if installation.suspended_at.is_some() {
        return Err(ForgeError::Forbidden(
            "This installation has been suspended".into(),
        ));
    }
    let granted = state
        .apps
        .get(&app_id)
        .map(|app| app.permissions.clone())
        .ok_or_else(ForgeError::not_found)?;
    let permissions = match narrowing.permissions {
        None => granted,
        Some(wanted) => {
            let excessive = wanted
                .iter()
                .any(|(name, level)| granted.get(name).is_none_or(|most| level > most));
            if excessive {
                return Err(ForgeError::Unprocessable(
                    "The permissions requested are not granted to this installation.".into(),
                ));
            }
            wanted
        }
    };
    let not_there = || {
        ForgeError::Unprocessable(
            "There is at least one repository that does not exist or is not accessible to the parent installation."
                .into(),
        )
    };
    let narrowed = match (narrowing.repository_ids, narrowing.repositories) {
        (None, None) => None,
        (ids, names) => {
            let mut wanted: BTreeSet<u64> = ids.into_iter().flatten().collect();
            for name in names.into_iter().flatten() {
                let full_name = format!("{}/{name}", installation.account);
                wanted.insert(state.repository(&full_name).map_err(|_unknown| not_there())?.id);
            }
            if wanted.len() > REPOSITORIES_OF_A_TOKEN || !wanted.is_subset(&installation.repositories) {
                return Err(not_there());
            }
            Some(wanted)
        }
    };
    let reachable = narrowed
        .clone()
        .unwrap_or_else(|| installation.repositories.clone());
    let mut answer = json!({
        "token": token,
        "expires_at": expires_at,
        "permissions": permissions,
        "repository_selection": "selected",
    });
    if narrowed.is_some() {
        let shaper = call.inner.shaper(&state);
        let shapes: Vec<Value> = state
            .repositories
            .values()
            .filter(|repository| reachable.contains(&repository.id))
            .map(|repository| shaper.repository(repository))
            .collect();
        answer["repositories"] = shapes.into();
    }
    let owner = TokenOwner::Installation {
        installation: id,
        expires_at,
        permissions,
        repositories: narrowed,
    };
    state.tokens.insert(token, owner);
    created(&answer)
}

/// `GET /installation/repositories`
pub(super) async fn repositories(call: Call) -> Answer {
    let Actor::Installation { repositories, .. } = &call.actor else {
        return Err(ForgeError::Forbidden(
            "You must authenticate with an installation access token in order to list repositories for an \
             installation."
                .into(),
        ));
    };
    let page = call.page()?;
    let (shapes, total) = {
        let state = call.inner.state();
        let shaper = call.inner.shaper(&state);
        let found: Vec<_> = state
            .repositories
            .values()
            .filter(|repository| repositories.contains(&repository.id))
            .collect();
        let shapes: Vec<Value> = page
            .cut(&found)
            .iter()
            .map(|repository| shaper.repository(repository))
            .collect();
        (shapes, found.len())
    };
    let body = json!({"total_count": total, "repository_selection": "selected", "repositories": shapes});
    Ok(page.link(ok(&body)?, &call.address(), total))
}
