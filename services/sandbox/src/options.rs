//! How a forge is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Permissions, promotion_permissions};

/// How a forge is set up.
#[derive(Debug, Clone)]
pub struct ForgeOptions {
    /// Where the bare repositories lie. It is made where it is missing, and never cleaned up.
    pub data_dir: PathBuf,
    /// Where to listen; only loopback is accepted. Nothing takes a free port of 127.0.0.1.
    pub listen: Option<SocketAddr>,
    /// The login that acts when somebody presses a button on the web pages. It is made at the start.
    pub viewer: String,
    /// GitHub's limits.
    pub limits: Limits,
    /// How long an installation token lives.
    pub installation_token_lifetime: Duration,
    /// How many reads of a pull request answer `mergeable: null` after each change of its head.
    pub mergeable_unknown_reads: u32,
    /// How long a receiver of a webhook may take to answer.
    pub webhook_timeout: Duration,
}

impl ForgeOptions {
    /// Returns GitHub's own values, with repositories under `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: None,
            viewer: "you".into(),
            limits: Limits::default(),
            installation_token_lifetime: Duration::from_secs(3_600),
            mergeable_unknown_reads: 0,
            webhook_timeout: Duration::from_secs(10),
        }
    }
}

/// GitHub's limits, as its REST reference names them. Tests lower them to meet them with little data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files of a pull request that are listed at most.
    pub pull_request_files: usize,
    /// Commits of a pull request that are listed at most.
    pub pull_request_commits: usize,
    /// Commits of a comparison on one page.
    pub compare_commits: usize,
    /// Files of a comparison, on its first page only.
    pub compare_files: usize,
    /// Entries of a directory in the contents API. More are left out without a word.
    pub directory_entries: usize,
    /// Entries of a recursive tree; with more it is `truncated`.
    pub tree_entries: usize,
    /// Bytes of a recursive tree; with more it is `truncated`.
    pub tree_bytes: usize,
    /// Statuses of one commit and context.
    pub statuses_per_context: usize,
    /// Characters of a comment, a review or a description of a pull request.
    pub body_characters: usize,
    /// Characters of the description of a status.
    pub status_description_characters: usize,
    /// Bytes of a webhook; a larger one is never sent.
    pub webhook_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pull_request_files: 3_000,
            pull_request_commits: 250,
            compare_commits: 250,
            compare_files: 300,
            directory_entries: 1_000,
            tree_entries: 100_000,
            tree_bytes: 7 * 1024 * 1024,
            statuses_per_context: 1_000,
            body_characters: 65_536,
            status_description_characters: 140,
            webhook_bytes: 25 * 1024 * 1024,
        }
    }
}

/// How a GitHub App is registered.
#[derive(Debug, Clone)]
pub struct AppOptions {
    /// The name in URLs; its bot is `slug[bot]`.
    pub slug: String,
    /// Who owns it. The account is made where it is missing.
    pub owner: String,
    /// What installations of it may do.
    pub permissions: Permissions,
    /// Events that its webhook gets; `*` means all.
    pub events: Vec<String>,
}

impl AppOptions {
    /// Returns an App with the permissions of a promotion bot that gets all events.
    #[must_use]
    pub fn new(slug: impl Into<String>) -> Self {
        Self {
            slug: slug.into(),
            owner: "acme".into(),
            permissions: promotion_permissions(),
            events: vec!["*".into()],
        }
    }
}
