//! Teams of organizations.

use axum::extract::Path;
use serde_json::Value;

use super::call::Call;
use super::{Answer, ok};
use crate::auth::Actor;
use crate::error::ForgeError;
use crate::model::Level;
use crate::state::State;

/// Refuses who may not see the teams of an organization: an App without the permission for it, or installed elsewhere.
fn authorize(actor: &Actor, state: &State, org: &str) -> Result<(), ForgeError> {
    match actor {
        Actor::Anonymous => Err(ForgeError::Unauthorized("Requires authentication".into())),
        Actor::User(_) => Ok(()),
        Actor::Installation {
            installation,
            permissions,
            ..
        } if permissions
            .get("members")
            .is_some_and(|level| *level >= Level::Read)
            && state
                .installations
                .get(installation)
                .is_some_and(|found| found.account.eq_ignore_ascii_case(org)) =>
        {
            Ok(())
        }
        Actor::App(_) | Actor::Installation { .. } => Err(ForgeError::Forbidden(
            "Resource not accessible by integration".into(),
        )),
    }
}

/// `GET /orgs/{org}/teams/{team_slug}/members`
pub(super) async fn members(call: Call, Path((org, slug)): Path<(String, String)>) -> Answer {
    let page = call.page()?;
    let (shapes, total) = {
        let state = call.inner.state();
        authorize(&call.actor, &state, &org)?;
        let team = state
            .teams
            .get(&(org.to_lowercase(), slug.to_lowercase()))
            .ok_or_else(ForgeError::not_found)?;
        let shaper = call.inner.shaper(&state);
        let shapes: Vec<Value> = page
            .cut(&team.members)
            .iter()
            .map(|login| shaper.team_member(login))
            .collect();
        (shapes, team.members.len())
    };
    Ok(page.link(ok(&shapes.into())?, &call.address(), total))
}
