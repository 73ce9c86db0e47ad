//! Who is in a team of an organization.

use http::StatusCode;
use lockflight_promotion::Login;
use serde::Deserialize;

use crate::client::{RepoClient, encoded};
use crate::error::ForgeError;
use crate::page;
use crate::purpose::Purpose;
use crate::route::TEAM_MEMBERS;

#[derive(Deserialize)]
struct Member {
    login: Login,
}

impl RepoClient {
    /// Reads the members of the team `slug` of the organization `org`, those of its child teams included.
    ///
    /// As an App, that takes the organization permission `Members: read`, which nothing else here needs, and the organization
    /// has to be the one that the repository belongs to: a token reaches no other.
    ///
    /// # Errors
    /// [`ForgeError::NotGranted`] when the permission is missing, or there is no such team that we can see; GitHub does not
    /// tell the two apart.
    pub async fn team_members(&self, org: &str, slug: &str) -> Result<Vec<Login>, ForgeError> {
        let session = self.session_for(Purpose::ReadMembers);
        let path = format!(
            "/orgs/{}/teams/{}/members?per_page=100",
            encoded(org),
            encoded(slug)
        );
        match page::all::<Member>(&session, &TEAM_MEMBERS, &path).await {
            Ok(members) => Ok(members.into_iter().map(|member| member.login).collect()),
            Err(ForgeError::Forbidden { message, .. }) => Err(unreadable(org, slug, &message)),
            Err(ForgeError::NotFound { .. }) => Err(unreadable(
                org,
                slug,
                StatusCode::NOT_FOUND.canonical_reason().unwrap_or_default(),
            )),
            Err(error) => Err(error),
        }
    }
}

fn unreadable(org: &str, slug: &str, message: &str) -> ForgeError {
    ForgeError::NotGranted {
        what: format!("the members of the team {org}/{slug} cannot be read"),
        message: message.to_owned(),
        advice: "See that the team exists and is visible, and that the App has the organization permission \
                 \"Members: read\" there, or a classic token the scope \"read:org\".",
    }
}
