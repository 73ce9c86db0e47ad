//! Why the forge refuses something, in the words of the forge it stands for.

use crate::git::GitError;

/// One entry of the `errors` list of GitHub's 422 answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// The kind of object that was refused, such as `PullRequest`.
    pub resource: &'static str,
    /// The field that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
    /// GitHub's code: `custom`, `invalid`, `missing_field`, `already_exists`, `unprocessable`.
    pub code: &'static str,
    /// What a person should read. Only with `custom` and `unprocessable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl FieldError {
    /// Builds an error with GitHub's code `custom` and its own message.
    pub(crate) fn custom(resource: &'static str, message: impl Into<String>) -> Self {
        Self {
            resource,
            field: None,
            code: "custom",
            message: Some(message.into()),
        }
    }

    /// Builds an error that says only which field is wrong and how.
    pub(crate) const fn coded(resource: &'static str, field: &'static str, code: &'static str) -> Self {
        Self {
            resource,
            field: Some(field),
            code,
            message: None,
        }
    }
}

/// Why the forge did not do what it was asked.
///
/// The variants follow GitHub's status codes, so that a REST answer and a call of the library say the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgeError {
    /// 401: no identity, or one that is unknown or expired.
    #[error("{0}")]
    Unauthorized(String),
    /// 403: the identity is known and may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// 404: there is no such thing, or the identity may not know of it.
    #[error("{0}")]
    NotFound(String),
    /// 405: the pull request cannot be merged now.
    #[error("{0}")]
    NotMergeable(String),
    /// 409: the world has moved since the caller looked.
    #[error("{0}")]
    Conflict(String),
    /// 400: the request cannot be read.
    #[error("{0}")]
    BadRequest(String),
    /// 422 with field errors.
    #[error("Validation Failed: {}", .0.first().map_or("", |first| first.message.as_deref().unwrap_or(first.code)))]
    Validation(Vec<FieldError>),
    /// 422 with a plain message.
    #[error("{0}")]
    Unprocessable(String),
    /// 422 with a list of sentences, as reviews answer it.
    #[error("{message}: {}", .errors.join("; "))]
    Sentences {
        /// The headline.
        message: String,
        /// The sentences below it.
        errors: Vec<String>,
    },
    /// The address to listen on is not on this machine.
    #[error("the sandbox listens on loopback only, and {0} is not a loopback address; use 127.0.0.1")]
    NotLoopback(std::net::SocketAddr),
    /// A webhook was to be sent to another machine.
    #[error("the sandbox sends webhooks to this machine only; `{0}` is not an http:// address on loopback")]
    WebhookNotLoopback(String),
    /// `git` could not be run, or it failed.
    #[error("git failed in the sandbox")]
    Git(#[from] GitError),
    /// A file or socket of the sandbox failed.
    #[error("the sandbox could not {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Keys or random numbers could not be made.
    #[error("{0}")]
    Crypto(&'static str),
}

impl ForgeError {
    pub(crate) fn not_found() -> Self {
        Self::NotFound("Not Found".into())
    }

    pub(crate) fn field(error: FieldError) -> Self {
        Self::Validation(vec![error])
    }

    pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
