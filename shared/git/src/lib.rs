//! Bare mirrors, tree edits and compare-and-swap pushes.
//!
//! A worker keeps one bare repository per GitHub repository under one root directory ([`Mirrors`]). What it needs to know it
//! reads from the object database at a pinned commit; what it writes is a handful of trees and one commit, which a push
//! carries to the branch under a compare-and-swap. There is never a checkout, so no hook, filter, symlink or submodule
//! of a repository is ever run or followed.
//!
//! Two ways lead to git, and each has one place: objects go through libgit2 ([`git2`]), off the async threads (`blocking.rs`);
//! everything that talks to a remote spawns the `git` program (`transport.rs`).
//!
//! What may interleave: fetches and pushes of one mirror take turns; reads and commits run beside them. A mirror that turns out
//! to be damaged is put aside and fetched anew by the next fetch. Two processes cannot share a root: the second is refused.

mod blocking;
mod changed;
mod commit;
mod extent;
mod fetch;
mod inspect;
mod local;
mod mirror;
mod mirrors;
pub mod port;
mod push;
mod push_report;
mod read;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transport;
mod transport_error;

#[cfg(test)]
mod tests;

pub use changed::{ChangedPaths, ChangedPathsError, MergedPullRequest};
pub use commit::{CommitError, CommitSpec, Committed, Identity};
pub use fetch::{FetchError, Fetched};
pub use inspect::{InspectError, Unsafe};
pub use local::{LocalError, LocalRepository};
pub use mirror::{Mirror, PrepareError, Usage};
pub use mirrors::{Credentials, Mirrors, MirrorsConfig, MirrorsError, PlainHttp, Remote};
pub use push::{PushError, PushOutcome, RefUpdate};
pub use read::{CommitInfo, ReadError};
pub use transport_error::TransportError;

lockflight_promotion::classified!(
    ChangedPathsError,
    CommitError,
    FetchError,
    InspectError,
    PushError,
    ReadError,
    TransportError,
);
