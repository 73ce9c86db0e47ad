//! What a forge is told once, at the start.

use std::time::Duration;

use secrecy::SecretString;

use crate::retry::Schedule;

/// How to reach GitHub, and as whom.
#[derive(Clone, Debug)]
pub struct ForgeConfig {
    /// The address of the REST API: `https://api.github.com`, or `https://HOST/api/v3` for Enterprise Server. Plain `http`
    /// is accepted on a loopback address only, since the token would travel in the clear.
    pub api_url: String,
    /// The address of the pages and of git, where it cannot be derived from `api_url`: `https://github.com`.
    pub web_url: Option<String>,
    /// As whom.
    pub auth: Auth,
    /// What an App's installation token may do, at most. Without effect on a personal token.
    pub permissions: Permissions,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long one request may take, from its start to the last byte of the answer.
    pub request_timeout: Duration,
    /// The `User-Agent`, which GitHub requires.
    pub user_agent: String,
    /// When a failed read is tried again.
    pub(crate) schedule: Schedule,
}

impl ForgeConfig {
    /// The usual settings for the API at `api_url`.
    #[must_use]
    pub fn new(api_url: impl Into<String>, auth: Auth) -> Self {
        Self {
            api_url: api_url.into(),
            web_url: None,
            auth,
            permissions: Permissions::default(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            user_agent: concat!("lockflight/", env!("CARGO_PKG_VERSION")).to_owned(),
            schedule: Schedule::default(),
        }
    }
}

/// As whom the forge acts.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A personal (or fine-grained, or OAuth) token, used as it is.
    Token(SecretString),
    /// A GitHub App, acting through its installations.
    App {
        /// The App's numeric id.
        id: u64,
        /// The App's private key as GitHub hands it out: RSA, PEM.
        private_key_pem: SecretString,
    },
}

impl Auth {
    /// A personal token.
    #[must_use]
    pub fn token(token: impl Into<String>) -> Self {
        Self::Token(SecretString::from(token.into()))
    }

    /// A GitHub App.
    #[must_use]
    pub fn app(id: u64, private_key_pem: impl Into<String>) -> Self {
        Self::App {
            id,
            private_key_pem: SecretString::from(private_key_pem.into()),
        }
    }
}

/// What may be done in one area of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: the permission is not asked for.
    None,
    /// Look.
    Read,
    /// Look and change.
    Write,
}

impl Access {
    /// The word in GitHub's API, none if it is not asked for.
    pub(crate) const fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Read => Some("read"),
            Self::Write => Some("write"),
        }
    }
}

/// The permissions that an installation token is narrowed to.
///
/// `workflows`, `administration` and `secrets` are not among them and cannot be: no promotion needs them.
/// Comments, labels and assignees of a pull request come with `pull_requests`
/// (<https://docs.github.com/en/rest/authentication/permissions-required-for-github-apps>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Fetch, push, merge.
    pub contents: Access,
    /// Pull requests with their comments, labels and reviews.
    pub pull_requests: Access,
    /// Commit statuses.
    pub statuses: Access,
}

impl Default for Permissions {
    /// What carrying a change needs.
    fn default() -> Self {
        Self {
            contents: Access::Write,
            pull_requests: Access::Write,
            statuses: Access::Write,
        }
    }
}

impl Permissions {
    /// What a second identity needs that only approves.
    #[must_use]
    pub const fn approver() -> Self {
        Self {
            contents: Access::Read,
            pull_requests: Access::Write,
            statuses: Access::None,
        }
    }

    /// The permissions that are asked for, by GitHub's names.
    pub(crate) fn asked(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        [
            ("contents", self.contents),
            ("pull_requests", self.pull_requests),
            ("statuses", self.statuses),
        ]
        .into_iter()
        .filter_map(|(name, access)| Some((name, access.word()?)))
    }
}
