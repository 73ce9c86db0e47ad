//! Teams of organizations.

use crate::error::ForgeError;
use crate::forge::Forge;
use crate::model::{Team, UserKind};

impl Forge {
    /// Makes a team of an organization with these members, or gives the team that exists these members instead. The
    /// organization and the members are made where they are missing.
    pub fn set_team(&self, org: &str, slug: &str, members: &[&str]) -> Team {
        let mut state = self.inner.state();
        state.user_or_new(org, UserKind::Organization);
        let members = members
            .iter()
            .map(|login| state.user_or_new(login, UserKind::User).login)
            .collect();
        let key = (org.to_lowercase(), slug.to_lowercase());
        let id = match state.teams.get(&key) {
            Some(team) => team.id,
            None => state.fresh_id(),
        };
        let team = Team {
            id,
            slug: slug.to_owned(),
            members,
        };
        state.teams.insert(key, team.clone());
        team
    }

    /// Removes a team.
    pub fn remove_team(&self, org: &str, slug: &str) {
        self.inner
            .state()
            .teams
            .remove(&(org.to_lowercase(), slug.to_lowercase()));
    }

    /// Returns a team.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such team.
    pub fn team(&self, org: &str, slug: &str) -> Result<Team, ForgeError> {
        self.inner
            .state()
            .teams
            .get(&(org.to_lowercase(), slug.to_lowercase()))
            .cloned()
            .ok_or_else(ForgeError::not_found)
    }
}
