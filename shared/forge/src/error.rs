//! What can go wrong between us and GitHub, and what a worker does about it.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use lockflight_promotion::{ErrorClass, InstallationId, PrNumber, RepoId, RepoName};

use crate::route::{Route, Verb};

/// Why a request got no usable answer from the network.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// One request, as far as it may be told to anybody: no query, no body, no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    verb: Verb,
    route: &'static str,
    path: String,
    needs: &'static str,
}

impl Call {
    pub(crate) fn new(route: &Route, path_and_query: &str) -> Self {
        let path = path_and_query.split('?').next().unwrap_or_default();
        Self {
            verb: route.verb,
            route: route.template,
            path: path.to_owned(),
            needs: route.needs,
        }
    }

    /// The HTTP method.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        self.verb.as_str()
    }

    /// The path with placeholders, as GitHub documents it.
    #[must_use]
    pub const fn route(&self) -> &'static str {
        self.route
    }

    /// The path that was asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    const fn is_read(&self) -> bool {
        matches!(self.verb, Verb::Get)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method(), self.path)
    }
}

/// A call to GitHub that did not do what was asked.
///
/// [`Self::class`] says what a worker does about it. The messages say what failed and what to do; they carry GitHub's own
/// `message`, cut to 300 characters, and never a token or a body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgeError {
    /// The settings cannot work.
    #[error("the forge cannot be set up: {reason}")]
    Config {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No TLS connection can be prepared.
    #[error(
        "no trusted root certificates could be loaded: install the system's CA certificates (ca-certificates)"
    )]
    Tls {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The App's key does not sign.
    #[error("the App's private key cannot sign a token: give the RSA key in PEM form as GitHub hands it out")]
    Signing {
        /// Why.
        #[source]
        source: Cause,
    },
    /// A read got no answer, and neither did its repetitions.
    #[error("{call} got no answer from GitHub")]
    Unreachable {
        /// The request.
        call: Box<Call>,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A read was answered with a 5xx, and so were its repetitions.
    #[error("{call} failed on GitHub's side ({status}): {message}")]
    Unavailable {
        /// The request.
        call: Box<Call>,
        /// The last status.
        status: StatusCode,
        /// GitHub's words.
        message: String,
    },
    /// A write got no answer or a 5xx: it may have been carried out or not. Look, then act.
    #[error("{call} may or may not have been carried out: {reason}")]
    Unknown {
        /// The request.
        call: Box<Call>,
        /// What came instead of an answer.
        reason: String,
        /// Why, where the network failed.
        #[source]
        source: Option<Cause>,
    },
    /// The limit of these credentials is used up. Nothing was done.
    #[error("{call} was not carried out: GitHub's rate limit is used up for another {} s", wait.as_secs())]
    RateLimited {
        /// The request.
        call: Box<Call>,
        /// How long to leave these credentials alone.
        wait: Duration,
    },
    /// The token or key is not accepted (401).
    #[error(
        "{call} was refused because the token or key is not valid ({message}): replace it in the settings"
    )]
    Unauthorized {
        /// The request.
        call: Box<Call>,
        /// GitHub's words.
        message: String,
    },
    /// The token is valid, but may not do this (403).
    #[error("{call} is forbidden: {message}.{advice}")]
    Forbidden {
        /// The request.
        call: Box<Call>,
        /// GitHub's words.
        message: String,
        /// What to do, where it is known; begins with a space then.
        advice: String,
    },
    /// What was asked for does not exist, or the token cannot see it (404, 410).
    #[error("{call} found nothing: it does not exist or the token cannot see it (permission: {needs})")]
    NotFound {
        /// The request.
        call: Box<Call>,
        /// The permission that would make it visible.
        needs: &'static str,
    },
    /// GitHub understood the request and will not carry it out (422 and other 4xx).
    #[error("{call} was refused ({status}): {message}")]
    Refused {
        /// The request.
        call: Box<Call>,
        /// The status.
        status: StatusCode,
        /// GitHub's words, those about single fields included.
        message: String,
    },
    /// The branch was pushed a moment ago and GitHub's API does not see it yet. Nothing was done.
    #[error("{call} was refused: the branch {branch:?} is not visible to GitHub's API yet")]
    NotYetVisible {
        /// The request.
        call: Box<Call>,
        /// The branch.
        branch: String,
    },
    /// The answer came, but not in the shape that GitHub documents.
    #[error("the answer to {call} is not what GitHub documents")]
    Unreadable {
        /// The request.
        call: Box<Call>,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// The answer is larger than anything that is asked for.
    #[error("the answer to {call} is larger than {limit} bytes")]
    TooLarge {
        /// The request.
        call: Box<Call>,
        /// The bound.
        limit: usize,
    },
    /// A redirect leads somewhere the token must not be sent.
    #[error("{call} is redirected to {target:?}, which is not this GitHub's API")]
    Redirected {
        /// The request.
        call: Box<Call>,
        /// Where to, cut short.
        target: String,
    },
    /// A redirect does not lead to the repository that was meant, by its id.
    #[error("{call} is redirected to {target:?}, which is not the repository {repo}: it is not followed")]
    RedirectedElsewhere {
        /// The request.
        call: Box<Call>,
        /// Where to, cut short.
        target: String,
        /// The repository that was meant.
        repo: RepoId,
    },
    /// A list has more pages than any list that is asked for.
    #[error("{call} goes on after {pages} pages")]
    Endless {
        /// The request.
        call: Box<Call>,
        /// How many were read.
        pages: usize,
    },
    /// GitHub lists at most 3,000 files of a pull request, and this list is not whole.
    #[error(
        "pull request {number} changes {expected} files and GitHub lists {listed} of them (its limit is 3,000): \
         split the change, or read it from git"
    )]
    FilesCapped {
        /// The pull request.
        number: PrNumber,
        /// How many were listed.
        listed: usize,
        /// How many there are.
        expected: u64,
    },
    /// The name now belongs to another repository than the one that was meant.
    #[error(
        "the name {name} now belongs to the repository {found}, not to {expected}: nothing is done there"
    )]
    OtherRepository {
        /// The name.
        name: RepoName,
        /// The repository that was meant.
        expected: RepoId,
        /// The repository that answered.
        found: RepoId,
    },
    /// The App gets no token for the repository.
    #[error(
        "the App gets no token for {repository}{}: {message}. See that it is installed on the repository, is not \
         suspended, and that its permissions were accepted: {permissions}",
        installation.map(|id| format!(" (installation {id})")).unwrap_or_default()
    )]
    Installation {
        /// The repository.
        repository: RepoName,
        /// The installation, where one is known.
        installation: Option<InstallationId>,
        /// GitHub's words.
        message: String,
        /// The permissions that were asked for.
        permissions: String,
    },
    /// A permission that only some uses need was not granted. Everything else goes on.
    #[error("{what}: {message}. {advice}")]
    NotGranted {
        /// What cannot be done.
        what: String,
        /// GitHub's words.
        message: String,
        /// Which permission to give to whom.
        advice: &'static str,
    },
    /// GraphQL answered with errors of its own.
    #[error("{call} was refused by GraphQL: {message}")]
    Graphql {
        /// The request.
        call: Box<Call>,
        /// GitHub's words.
        message: String,
    },
}

impl ForgeError {
    pub(crate) fn config(reason: impl Into<String>) -> Self {
        Self::Config {
            reason: reason.into(),
        }
    }

    /// What a worker does about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::Unknown { .. }
            | Self::NotYetVisible { .. }
            // A proxy's page or half an answer; GitHub's own shape is there the next time.
            | Self::Unreadable { .. } => ErrorClass::Retry,
            Self::RateLimited { wait, .. } => ErrorClass::RetryAfter(*wait),
            Self::Config { .. }
            | Self::Tls { .. }
            | Self::Signing { .. }
            | Self::Unauthorized { .. }
            | Self::Installation { .. }
            | Self::Redirected { .. }
            | Self::RedirectedElsewhere { .. }
            | Self::OtherRepository { .. }
            | Self::TooLarge { .. } => ErrorClass::Reject,
            // What cannot be read cannot be commented on; what may only not be written to perhaps can.
            Self::NotFound { call, .. } if call.is_read() => ErrorClass::Reject,
            Self::NotFound { .. }
            | Self::Forbidden { .. }
            | Self::FilesCapped { .. }
            | Self::NotGranted { .. }
            | Self::Graphql { .. } => ErrorClass::User,
            Self::Refused { status, .. } => match status.as_u16() {
                400 | 405 | 406 | 415 => ErrorClass::Bug,
                422 => ErrorClass::User,
                _ => ErrorClass::Reject,
            },
            Self::Endless { .. } => ErrorClass::Bug,
        }
    }

    pub(crate) fn not_found(call: Box<Call>) -> Self {
        let needs = call.needs;
        Self::NotFound { call, needs }
    }

    /// A 403 with what to do about it. `accepted` is GitHub's `x-accepted-github-permissions`, `sso` its `x-github-sso`.
    pub(crate) fn forbidden(call: Box<Call>, message: String, accepted: Option<&str>, sso: bool) -> Self {
        let message = message.trim_end_matches('.').to_owned();
        let lower = message.to_ascii_lowercase();
        let advice = if sso {
            " Authorize the token for the organization's single sign-on.".to_owned()
        } else if lower.contains("not accessible") || lower.contains("must have") || accepted.is_some() {
            let needed =
                accepted.map_or_else(|| call.needs.to_owned(), |accepted| accepted.replace('=', ": "));
            format!(
                " Give the App or token the permission \"{needed}\" on this repository (an App's owner then has to \
                 accept it), or a classic token the scope \"repo\"."
            )
        } else {
            String::new()
        };
        Self::Forbidden {
            call,
            message,
            advice,
        }
    }
}
