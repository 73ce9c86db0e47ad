//! What an account may do in a repository.

use http::StatusCode;
use lockflight_promotion::Login;
use lockflight_promotion::command::Role;
use serde::Deserialize;

use crate::client::{RepoClient, encoded};
use crate::error::ForgeError;
use crate::route::PERMISSION;

/// An account, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collaborator {
    /// The numeric id of the account that has the login now. A login may pass from one person to another, an id never does.
    pub id: u64,
    /// The highest role, from whatever source: the repository, a team or the organization. A custom role counts as the one that it is
    /// based on.
    pub role: Role,
}

/// <https://docs.github.com/en/rest/collaborators/collaborators#get-repository-permissions-for-a-user>: `permission` knows four roles,
/// and `role_name` all of them.
#[derive(Deserialize)]
struct Wire {
    permission: String,
    #[serde(default)]
    role_name: String,
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
}

impl Wire {
    fn role(&self) -> Role {
        match (self.permission.as_str(), self.role_name.as_str()) {
            ("admin", _) => Role::Admin,
            ("write", "maintain") => Role::Maintain,
            ("write", _) => Role::Write,
            ("read", "triage") => Role::Triage,
            ("read", _) => Role::Read,
            _ => Role::None,
        }
    }
}

impl RepoClient {
    /// Reads what an account may do here; none if there is no such account.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn collaborator(&self, login: &Login) -> Result<Option<Collaborator>, ForgeError> {
        let path = self.path(&format!("/collaborators/{}/permission", encoded(login.as_str())));
        let answer = self.session.read(&PERMISSION, &path).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let wire: Wire = answer.json()?;
        let role = wire.role();
        Ok(wire.user.map(|user| Collaborator { id: user.id, role }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_the_one_that_github_names_or_the_one_that_it_is_based_on() {
        for (permission, role_name, wanted) in [
            ("admin", "admin", Role::Admin),
            ("write", "maintain", Role::Maintain),
            ("write", "write", Role::Write),
            ("write", "release-captain", Role::Write),
            ("read", "triage", Role::Triage),
            ("read", "read", Role::Read),
            ("none", "none", Role::None),
            ("admin-ish", "admin", Role::None),
        ] {
            let wire = Wire {
                permission: permission.to_owned(),
                role_name: role_name.to_owned(),
                user: None,
            };
            assert_eq!(wire.role(), wanted, "{permission} {role_name}");
        }
    }
}
