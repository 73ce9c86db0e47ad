//! Why a conversation with a remote failed.

use std::time::Duration;

use lockflight_promotion::ErrorClass;

/// A conversation with a remote that had no success: by git's protocol over HTTP, or by a `git` child.
///
/// `detail` is what the server or git said, cut short, without control characters and without the credentials.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The program could not be started.
    #[error("git could not be started; install git 2.39 or newer, or set the path to it")]
    Spawn(#[source] std::io::Error),
    /// Talking to the running child failed.
    #[error("git was started, but its output could not be read")]
    Pipe(#[source] std::io::Error),
    /// The address is of a kind that the configuration does not allow, or carries credentials.
    #[error("the address of the repository is refused: {0}")]
    Address(&'static str),
    /// The server did not accept the token.
    #[error("the server refused the token; check that it is valid and not expired: {detail}")]
    AuthenticationFailed {
        /// What git said.
        detail: String,
    },
    /// The server knows the token and forbids the operation.
    #[error(
        "the server forbids this; check that the token may read and write the repository's contents: {detail}"
    )]
    Forbidden {
        /// What git said.
        detail: String,
    },
    /// The repository does not exist, or the token may not see it.
    #[error(
        "the repository was not found; check its name, and that the token or App has access to it: {detail}"
    )]
    NotFound {
        /// What git said.
        detail: String,
    },
    /// The server sends elsewhere, which is not followed: the token is for the address that was given, and for no other.
    ///
    /// Tried again, since a renamed repository has its new address in what GitHub says next time.
    #[error(
        "the repository was renamed or the server redirects; no redirect is followed, so that the token goes nowhere else: {detail}"
    )]
    Redirected {
        /// What git said.
        detail: String,
    },
    /// The child wrote more than is read, so a part of the answer is missing.
    #[error("git wrote more than {most} bytes, so its answer is not complete and was not used")]
    TooMuchOutput {
        /// How many bytes are read.
        most: usize,
    },
    /// The connection failed, or the server had trouble of its own.
    #[error("the server could not be reached, or broke off: {detail}")]
    Network {
        /// What git said.
        detail: String,
    },
    /// It took too long, or nothing came for too long. A child was killed with all that it had started.
    #[error("nothing came of it within {after:?}, so it was given up")]
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// No room for what was to be written.
    #[error("the disk that holds the mirrors is full; make room there: {detail}")]
    DiskFull {
        /// What git said.
        detail: String,
    },
    /// The mirror on this machine is damaged.
    #[error("the mirror on this machine is damaged and will be fetched anew: {detail}")]
    MirrorDamaged {
        /// What git said.
        detail: String,
    },
    /// The repository uses SHA-256 object ids.
    #[error("the repository uses SHA-256 object ids; only SHA-1 repositories are supported: {detail}")]
    ObjectFormat {
        /// What git said.
        detail: String,
    },
    /// The repository holds an object that git's checks refuse.
    #[error("the repository holds a malformed object, which `git fsck` in a clone of it will name: {detail}")]
    Malformed {
        /// What git said.
        detail: String,
    },
    /// The server asks to be left alone for a while: 429, or 403 or 503 with a `Retry-After`.
    #[error("the server limits how often it is asked; it is asked again in {after:?}: {detail}")]
    RateLimited {
        /// How long: as the server said, or a minute when it did not; an hour at most.
        after: Duration,
        /// What the server said.
        detail: String,
    },
    /// The server does not speak version 2 of git's protocol, or the remote is a path.
    #[error("the server does not speak version 2 of git's protocol")]
    NoVersion2,
    /// The server cannot leave out files and trees (`uploadpack.allowFilter`).
    #[error("the server does not support partial clones (uploadpack.allowFilter)")]
    NoFilter,
    /// The server has not what was asked for by its id.
    #[error("the server does not have an object that was asked for: {detail}")]
    NoSuchObject {
        /// What the server said.
        detail: String,
    },
    /// The server needs objects for a push that were not sent. No branch was moved.
    #[error("the server lacks objects that the push builds on: {detail}")]
    LacksObjects {
        /// What the server said.
        detail: String,
    },
    /// The server's answer is not what git's protocol has here: a page of a proxy, a broken pack.
    #[error("the server's answer is not git's protocol, or is damaged: {detail}")]
    BadAnswer {
        /// What is wrong with it.
        detail: String,
    },
    /// The server sends more than is taken.
    #[error(
        "the server sends more than {most} {what}; the repository is too large, or the limit is too small"
    )]
    TooLarge {
        /// What there is too much of, and its unit.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// No root certificates, so that no server can be trusted.
    #[error(
        "the system's root certificates cannot be read; install them (on Debian: apt-get install ca-certificates): {detail}"
    )]
    NoRootCertificates {
        /// What was said.
        detail: String,
    },
    /// Anything else.
    #[error("git failed ({status}): {detail}")]
    Other {
        /// The exit status.
        status: String,
        /// What git said.
        detail: String,
    },
}

impl TransportError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::AuthenticationFailed { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Address(_)
            | Self::ObjectFormat { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. } => ErrorClass::User,
            Self::RateLimited { after, .. } => ErrorClass::RetryAfter(*after),
            Self::Spawn(_)
            | Self::Pipe(_)
            | Self::Redirected { .. }
            | Self::TooMuchOutput { .. }
            | Self::Network { .. }
            | Self::TimedOut { .. }
            | Self::DiskFull { .. }
            | Self::MirrorDamaged { .. }
            | Self::NoVersion2
            | Self::NoFilter
            // A replica of the server may lag behind.
            | Self::NoSuchObject { .. }
            | Self::LacksObjects { .. }
            | Self::BadAnswer { .. }
            | Self::NoRootCertificates { .. }
            | Self::Other { .. } => ErrorClass::Retry,
        }
    }

    /// Names the cause of a failed child from its standard error, which must be clean of secrets already.
    ///
    /// git has no machine-readable errors, so this goes by its English texts (`LC_ALL=C`). Lines that the server wrote
    /// (`remote: ...`) are shown, but only git's own decide.
    pub(crate) fn from_stderr(stderr: &str, status: String) -> Self {
        let own: String = stderr
            .lines()
            .filter(|line| !line.trim_start().starts_with("remote:"))
            .flat_map(|line| [line, "\n"])
            .collect::<String>()
            .to_lowercase();
        let says = |texts: &[&str]| texts.iter().any(|text| own.contains(text));
        let detail = excerpt(stderr);
        if says(&["no space left on device", "disk quota exceeded", "file too large"]) {
            Self::DiskFull { detail }
        } else if says(&["mismatched algorithms", "object-format"]) {
            Self::ObjectFormat { detail }
        } else if says(&[
            "error: 401",
            "authentication failed",
            "could not read username",
            "could not read password",
        ]) {
            Self::AuthenticationFailed { detail }
        } else if says(&["error: 403"]) {
            Self::Forbidden { detail }
        } else if says(&["error: 404", "error: 410"])
            || says(&["does not appear to be a git repository"])
            || (own.contains("fatal: repository '") && own.contains("not found"))
        {
            Self::NotFound { detail }
        } else if says(&[
            "error: 301",
            "error: 302",
            "error: 303",
            "error: 307",
            "error: 308",
        ]) {
            Self::Redirected { detail }
        } else if says(&["fsck error", "fsck_error"]) {
            Self::Malformed { detail }
        } else if says(&[
            "the requested url returned error:",
            "could not resolve host",
            "failed to connect",
            "couldn't connect",
            "connection reset",
            "connection refused",
            "timed out",
            "timeout was reached",
            "operation too slow",
            "early eof",
            "rpc failed",
            "hung up unexpectedly",
            "unexpected disconnect",
            "transfer closed",
            "empty reply from server",
            "ssl certificate",
            "ssl_",
            "gnutls_",
        ]) {
            Self::Network { detail }
        } else if says(&["transport '"]) && says(&["not allowed"]) {
            Self::Address("its protocol is not allowed by the configuration")
        } else if says(&[
            "not a git repository",
            "object file",
            "loose object",
            "bad object",
            "unable to read tree",
            "unable to read sha1",
            "packfile",
            "pack has bad",
            "missing blob",
            "missing tree",
            "missing commit",
            "did not send all necessary objects",
            "unresolved delta",
            "invalid sha1 pointer",
            "is corrupt",
            "bad config",
            "bad signature",
            ".lock': file exists",
        ]) {
            Self::MirrorDamaged { detail }
        } else {
            Self::Other { status, detail }
        }
    }
}

/// At most 1,000 characters of `text` on one line, without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(1000)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_read_from_what_git_says() {
        let class = |text: &str| TransportError::from_stderr(text, "exit status: 128".into());
        assert!(matches!(
            class("fatal: Authentication failed for 'http://127.0.0.1:1/a/b/'"),
            TransportError::AuthenticationFailed { .. }
        ));
        assert!(matches!(
            class("fatal: could not read Username for 'http://127.0.0.1:1': terminal prompts disabled"),
            TransportError::AuthenticationFailed { .. }
        ));
        assert!(matches!(
            class("fatal: unable to access 'http://h/': The requested URL returned error: 403"),
            TransportError::Forbidden { .. }
        ));
        assert!(matches!(
            class("remote: Repository not found.\nfatal: repository 'https://h/a/b/' not found"),
            TransportError::NotFound { .. }
        ));
        for retry in [
            "fatal: unable to access 'http://h/': The requested URL returned error: 503",
            "fatal: unable to access 'http://h/': Could not resolve host: h",
            "error: RPC failed; curl 56 Recv failure: Connection reset by peer",
            "fatal: unable to access 'https://h/': SSL certificate problem: unable to get local issuer certificate",
            "fatal: the remote end hung up unexpectedly",
        ] {
            assert!(matches!(class(retry), TransportError::Network { .. }), "{retry}");
        }
        assert!(matches!(
            class("fatal: write error: No space left on device"),
            TransportError::DiskFull { .. }
        ));
    }

    #[test]
    fn a_lock_that_nobody_holds_means_a_damaged_mirror() {
        let error = TransportError::from_stderr(
            "error: cannot lock ref 'refs/x': Unable to create '/openssl/1.git/./refs/x.lock': File exists.",
            "exit status: 1".into(),
        );
        assert!(matches!(error, TransportError::MirrorDamaged { .. }), "{error:?}");
    }

    #[test]
    fn what_the_server_writes_does_not_decide() {
        let error = TransportError::from_stderr(
            "remote: fatal: bad object, No space left on device\nfatal: something else",
            "exit status: 1".into(),
        );
        assert!(matches!(error, TransportError::Other { .. }), "{error:?}");
    }
}
