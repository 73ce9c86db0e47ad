//! Who we are on GitHub.

use lockflight_promotion::Login;
use serde::Deserialize;

use crate::client::Forge;
use crate::error::ForgeError;
use crate::route::{APP_SELF, USER};
use crate::session::Credential;

/// The account that our comments and pull requests carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The login; that of an App is its slug with `[bot]`.
    pub login: Login,
    /// The account's numeric id; an App does not tell that of its bot account.
    pub id: Option<u64>,
}

#[derive(Deserialize)]
struct User {
    login: Login,
    id: u64,
}

#[derive(Deserialize)]
struct AppSelf {
    slug: String,
}

impl Forge {
    /// Who we are. Asked once, then remembered.
    ///
    /// # Errors
    /// When GitHub cannot be asked, or the token is not that of a user.
    pub async fn identity(&self) -> Result<Identity, ForgeError> {
        self.inner
            .identity
            .get_or_try_init(|| self.ask_identity())
            .await
            .cloned()
    }

    async fn ask_identity(&self) -> Result<Identity, ForgeError> {
        let session = self.session();
        if let Credential::App(_) = session.credential {
            let app: AppSelf = session.read(&APP_SELF, "/app").await?.json()?;
            let login = Login::parse(format!("{}[bot]", app.slug))
                .map_err(|error| ForgeError::config(format!("the App's slug is unusable: {error}")))?;
            return Ok(Identity { login, id: None });
        }
        let user: User = session.read(&USER, "/user").await?.json()?;
        Ok(Identity {
            login: user.login,
            id: Some(user.id),
        })
    }
}
