//! The entrance: one GitHub, and one repository on it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use lockflight_promotion::change::Repository;
use lockflight_promotion::{RepoId, RepoName};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

use crate::app::{App, Grant};
use crate::calls::Calls;
use crate::config::{Auth, ForgeConfig};
use crate::error::ForgeError;
use crate::find::Finds;
use crate::identity::Identity;
use crate::limit::Gate;
use crate::merge::MergeMethod;
use crate::proof::Proofs;
use crate::purpose::Purpose;
use crate::session::{Credential, Session};
use crate::wire::Wire;

/// One GitHub, as one identity. A clone shares connections, tokens and counters.
#[derive(Clone, Debug)]
pub struct Forge {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    wire: Arc<Wire>,
    credential: Credential,
    pub(crate) identity: OnceCell<Identity>,
    methods: Arc<MergeMethods>,
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) finds: Finds,
}

/// The merge method that worked last, by repository.
pub(crate) type MergeMethods = Mutex<HashMap<RepoId, MergeMethod>>;

impl Forge {
    /// Prepares the way to GitHub. Nothing is sent yet.
    ///
    /// # Errors
    /// When the settings cannot work: an address that is not that of an API, a key that does not sign, no root certificates, or
    /// no tokio runtime around.
    pub fn new(config: ForgeConfig) -> Result<Self, ForgeError> {
        let wire = Arc::new(Wire::new(&config)?);
        let credential = match &config.auth {
            Auth::Token(token) => Credential::Token {
                secret: checked_token(token)?,
                gate: Arc::new(Gate::default()),
            },
            Auth::App { id, private_key_pem } => {
                Credential::App(Arc::new(App::new(*id, private_key_pem, config.permissions)?))
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                wire,
                credential,
                identity: OnceCell::new(),
                methods: Arc::default(),
                proofs: Arc::default(),
                finds: Finds::default(),
            }),
        })
    }

    /// The way to one repository.
    ///
    /// With a personal token nothing is sent yet: before the first write, and before the token is given to git, the
    /// repository's id is read, unless a pull request of it was; that is once in the life of a [`Forge`]. As an App, a token narrowed to this repository is made, or taken from
    /// memory; its installation is the one of the message, or looked up when the message names none.
    ///
    /// # Errors
    /// As an App, when it gets no token for the repository.
    pub async fn repository(&self, repository: &Repository) -> Result<RepoClient, ForgeError> {
        let (credential, name) = match &self.inner.credential {
            Credential::App(app) => {
                let grant = Arc::new(Grant::new(app, &self.inner.wire, repository.clone()));
                let name = grant.name().await?;
                (Credential::Grant(grant), name)
            }
            other => (other.clone(), repository.name.clone()),
        };
        Ok(RepoClient {
            session: Session {
                wire: Arc::clone(&self.inner.wire),
                credential,
                repo: Some(repository.id),
                sent: Arc::default(),
            },
            id: repository.id,
            name,
            methods: Arc::clone(&self.inner.methods),
            proofs: Arc::clone(&self.inner.proofs),
        })
    }

    /// The address of the pages, without a slash at the end: `https://github.com`.
    #[must_use]
    pub fn web_url(&self) -> &str {
        &self.inner.wire.addresses.web
    }

    /// The address that git clones `repository` from: `https://github.com/owner/name.git`.
    #[must_use]
    pub fn git_url(&self, repository: &RepoName) -> String {
        self.inner.wire.addresses.git(repository)
    }

    /// What was asked of GitHub so far, and what is left of the limits.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.inner.wire.counters.snapshot()
    }

    /// A session of the identity itself, for no repository in particular.
    pub(crate) fn session(&self) -> Session {
        Session {
            wire: Arc::clone(&self.inner.wire),
            credential: self.inner.credential.clone(),
            repo: None,
            sent: Arc::default(),
        }
    }
}

/// A token without the white space that a file brings along.
fn checked_token(token: &SecretString) -> Result<SecretString, ForgeError> {
    let trimmed = token.expose_secret().trim();
    if trimmed.is_empty() || !trimmed.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ForgeError::config(
            "the token is empty or has characters that no token has: give it as GitHub showed it",
        ));
    }
    Ok(SecretString::from(trimmed.to_owned()))
}

/// One repository. A clone shares everything.
#[derive(Clone, Debug)]
pub struct RepoClient {
    pub(crate) session: Session,
    id: RepoId,
    name: RepoName,
    pub(crate) methods: Arc<MergeMethods>,
    pub(crate) proofs: Arc<Proofs>,
}

impl RepoClient {
    /// The repository's numeric id.
    #[must_use]
    pub const fn id(&self) -> RepoId {
        self.id
    }

    /// Its name: the current one as an App, the one that was asked for with a personal token.
    #[must_use]
    pub const fn name(&self) -> &RepoName {
        &self.name
    }

    /// How many requests went through this client and its clones, tries that failed included.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.session.sent.load(Ordering::Relaxed)
    }

    /// The address that git clones it from.
    #[must_use]
    pub fn git_url(&self) -> String {
        self.session.wire.addresses.git(&self.name)
    }

    /// The password for git over HTTP, with the user `x-access-token`. As an App it reaches this repository only, and is good
    /// for ten minutes at least, if GitHub makes tokens that live that long.
    ///
    /// # Errors
    /// As an App, when it gets no token for the repository; with a personal token, [`ForgeError::OtherRepository`].
    pub async fn git_credentials(&self) -> Result<SecretString, ForgeError> {
        self.prove().await?;
        match &self.session.credential {
            Credential::Token { secret, .. } => Ok(secret.clone()),
            Credential::App(app) => Ok(app.bearer()?.secret),
            Credential::Grant(grant) => Ok(grant.bearer().await?.secret),
        }
    }

    /// The way to GitHub with a token for `purpose`; a personal token serves all of them.
    pub(crate) fn session_for(&self, purpose: Purpose) -> Session {
        let credential = match &self.session.credential {
            Credential::Grant(grant) => Credential::Grant(Arc::new(grant.with(purpose))),
            other => other.clone(),
        };
        Session {
            credential,
            ..self.session.clone()
        }
    }

    /// A path below the repository's.
    pub(crate) fn path(&self, below: &str) -> String {
        format!("/repos/{}{below}", self.name)
    }
}

/// Percent-encodes a value for a query.
pub(crate) fn encoded(value: &str) -> String {
    value
        .bytes()
        .fold(String::with_capacity(value.len()), |mut text, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                write!(text, "%{byte:02X}").unwrap_or_default();
            }
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_encoded_for_a_query() {
        assert_eq!(encoded("acme:promotions/ü-&x"), "acme%3Apromotions%2F%C3%BC-%26x");
    }
}
