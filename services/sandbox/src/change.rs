//! What has just happened on the forge, for those who wait for it.

/// Something that has happened. The order is that of the effects in each repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A branch or tag was made, moved or deleted; the zero id stands for "none".
    RefMoved {
        /// `owner/name`.
        repository: String,
        /// The full name, such as `refs/heads/main`.
        name: String,
        /// Where it was.
        before: String,
        /// Where it is.
        after: String,
    },
    /// A pull request changed. `action` is that of GitHub's event: `opened`, `synchronize`, `labeled`, `closed`, ...
    PullRequest {
        /// `owner/name`.
        repository: String,
        /// The number.
        number: u64,
        /// What happened to it.
        action: String,
        /// Whether it is merged now.
        merged: bool,
    },
    /// A comment was written, edited, minimized or deleted.
    Comment {
        /// `owner/name`.
        repository: String,
        /// The number of the pull request.
        number: u64,
        /// The comment.
        id: u64,
        /// `created`, `edited`, `minimized`, `deleted`.
        action: &'static str,
    },
    /// A review was sent.
    Review {
        /// `owner/name`.
        repository: String,
        /// The number of the pull request.
        number: u64,
        /// The review.
        id: u64,
    },
    /// A commit got a status.
    Status {
        /// `owner/name`.
        repository: String,
        /// The commit.
        sha: String,
        /// The context.
        context: String,
        /// The state.
        state: String,
    },
    /// A check run was made or changed.
    CheckRun {
        /// `owner/name`.
        repository: String,
        /// The check run.
        id: u64,
    },
    /// An attempt to deliver a webhook has ended.
    WebhookDelivered {
        /// The attempt.
        id: u64,
        /// What was delivered.
        guid: String,
        /// The event.
        event: String,
        /// The receiver's status, or 0 where there was no answer.
        status_code: u16,
    },
}
