//! Bare mirrors, tree edits and compare-and-swap pushes.
//!
//! A worker keeps one bare repository per GitHub repository under one root directory ([`Mirrors`]). What it needs to know it
//! reads from the object database at a pinned commit; what it writes is a handful of trees and one commit, which a push
//! carries to the branch under a compare-and-swap. There is never a checkout, so no hook, filter, symlink or submodule
//! of a repository is ever run or followed.
//!
//! Three ways lead to git, and each has one place: objects go through libgit2 ([`git2`]), off the async threads (`blocking.rs`);
//! servers that speak version 2 of git's protocol over HTTP are talked to in this process (`wire`); all other remotes, and the upkeep of mirrors,
//! are left to the `git` program (`transport.rs`, `child.rs`).
//!
//! A mirror of such a server is partial (`partial.rs`): it holds what was needed so far and asks for the rest when it is needed, so what a
//! promotion costs does not grow with the repository. A mirror of any other remote is complete.
//!
//! What may interleave: fetches and pushes of one mirror take turns; reads and commits run beside them. A mirror that turns out
//! to be damaged is put aside and fetched anew by the next fetch. Two processes cannot share a root: the second is refused.

mod ahead;
mod blocking;
mod changed;
mod child;
mod commit;
mod difference;
mod extent;
mod fetch;
mod foreign;
mod history;
mod inspect;
mod listing;
mod local;
mod maintenance;
mod mirror;
mod mirrors;
mod objects;
mod packs;
mod partial;
pub mod port;
mod push;
mod push_report;
mod read;
mod select;
mod slot;
mod surgery;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transport;
mod transport_error;
mod wire;

#[cfg(test)]
mod tests;

pub use ahead::Ahead;
pub use changed::{ChangedPaths, ChangedPathsError, MergedPullRequest};
pub use commit::{CommitError, CommitSpec, Committed, Identity};
pub use fetch::{FetchError, Fetched};
pub use foreign::{BringError, Brought};
pub use inspect::{InspectError, Unsafe};
pub use local::{LocalError, LocalRepository};
pub use maintenance::Upkeep;
pub use mirror::{Mirror, PrepareError, Usage};
pub use mirrors::{Credentials, Mirrors, MirrorsConfig, MirrorsError, PlainHttp, Remote};
pub use push::{PushError, PushOutcome, RefUpdate};
pub use read::{Blobs, CommitInfo, Line, ReadError};
pub use transport_error::TransportError;

lockflight_promotion::classified!(
    BringError,
    ChangedPathsError,
    CommitError,
    FetchError,
    InspectError,
    PushError,
    ReadError,
    TransportError,
);
