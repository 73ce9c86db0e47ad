//! git's smart HTTP protocol, spoken in this process on connections that stay open.
//!
//! Listing and fetching use protocol version 2 (gitprotocol-v2(5)), pushing uses receive-pack (gitprotocol-pack(5)), both over
//! gitprotocol-http(5). Nothing is spawned, and libgit2 does all that needs objects.
//!
//! Guarantees:
//! - The token goes to the host of the remote's address and nowhere else: no redirect is followed, no proxy is used, nothing is
//!   read from the environment. It is in no error and no log, not even where a server sends it back.
//! - Whatever a server sends has a bound: the length of a line, the number of lines, the size of a pack, the size of what a delta in it
//!   says it makes, the time between two bytes and the time in all.
//! - A pack is written to a directory of its own (`objects/tmp_*`) and comes into the object database when it is complete and
//!   the hash of each object was computed from its content. A fetch that failed or was dropped leaves nothing; what a kill leaves has a name that
//!   the mirror's sweep knows.
//! - A push is sent under a lease that was checked right before, and what became of a push that broke off is never guessed.
//!
//! What takes the place of `transfer.fsckObjects`: an object has the id that it is asked for by, so nothing can be changed on the way
//! without being noticed. That a tree has only names and modes that are safe to carry is looked at by [`crate::inspect`] in what is promoted, and by
//! the server in what is pushed. Nothing is checked out, so no other object can do harm by its content.
//!
//! What may interleave: everything here may run at the same time for any number of repositories, and for one. Two fetches into one repository
//! may both bring an object, which is harmless.

use std::num::NonZeroU32;
use std::time::Duration;

use git2::Oid;

mod client;
mod fetch;
mod http;
mod list;
mod offer;
mod outgoing;
mod pack;
mod packets;
mod pkt;
mod push;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use self::http::BYTES_IN_ONE_ANSWER;
pub(crate) use client::Wire;
pub(crate) use pack::{install, staging, written};

/// How this program names itself in requests.
const AGENT: &str = concat!("agent=lockflight/", env!("CARGO_PKG_VERSION"));

/// The most capabilities that a server may name.
const MOST_CAPABILITIES: usize = 256;

/// How much a server may ask of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long opening a connection may take.
    pub(crate) connect: Duration,
    /// How long a server may say nothing.
    pub(crate) idle: Duration,
    /// How long one operation may take in all.
    pub(crate) total: Duration,
    /// The largest pack, in bytes.
    pub(crate) pack: u64,
    /// The most objects in a pack.
    pub(crate) objects: u32,
    /// The largest commit, tree, tag or delta, and the largest object that a delta makes, in bytes: what has to be held in memory. GitHub takes no file
    /// of more than 100 MiB.
    pub(crate) object: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
            pack: 4 << 30,
            objects: 20_000_000,
            object: 512 << 20,
        }
    }
}

impl Limits {
    /// The largest answer that has a pack in it: with its frames, and what is said beside it.
    const fn answer(&self) -> u64 {
        self.pack
            .saturating_add(self.pack / 1000)
            .saturating_add(client::MOST_ANSWER)
    }

    fn bounds(&self, request: &Request) -> scan::Bounds {
        scan::Bounds {
            objects: self.objects.min(request.most_objects.unwrap_or(u32::MAX)),
            object: self.object,
        }
    }
}

/// What the server of a remote speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Protocol version 2 over HTTP: [`Wire`] can talk to it.
    Version2 {
        /// Whether a fetch may leave out files and trees ([`Filter`]). Else a request with a filter is refused
        /// with [`crate::TransportError::NoFilter`] before anything is sent.
        filter: bool,
    },
    /// Something else, or the remote is a path: the `git` program has to do it.
    Other,
}

/// One fetch: what is wanted, and what the server may take for known.
///
/// A server of version 2 gives any object that it has to who asks for it by its id, not just the tips of branches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The objects that are wanted: commits, trees or blobs. At least one, and at most [`Request::MOST_WANTS`].
    pub(crate) wants: Vec<Oid>,
    /// Commits that are here with all they need, as far as they reach within `shallow` and `filter`. What they reach is not sent. An id that the
    /// server doesn't know is passed over.
    pub(crate) haves: Vec<Oid>,
    /// The commits that are here without their parents: the lines of `$GIT_DIR/shallow`. Leave it empty when no commit is wanted.
    pub(crate) shallow: Vec<Oid>,
    /// Where history shall end; `None`: no change to where it ends here.
    pub(crate) deepen: Option<Deepen>,
    /// What to leave out. Objects that are named in `wants` are sent all the same.
    pub(crate) filter: Option<Filter>,
    /// The most objects that the answer may bring, where that is less than the client takes of any: more is [`crate::TransportError::TooLarge`],
    /// right when the pack begins.
    pub(crate) most_objects: Option<u32>,
    /// The most bytes that the answer may have, where that is less than the client takes of any: more is
    /// [`crate::TransportError::TooLarge`] ([`BYTES_IN_ONE_ANSWER`]).
    pub(crate) most_bytes: Option<u64>,
}

impl Request {
    /// The most ids that one request should name: about 3 MB. Servers take fewer bytes than that without complaint; split above it.
    pub(crate) const MOST_WANTS: usize = 65_536;
}

/// What a fetch leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All blobs (`blob:none`).
    BlobNone,
    /// All trees and blobs that are this deep below a commit's root tree or deeper (`tree:<depth>`): 0 for no trees at all, 1 for root trees.
    TreeDepth(u32),
}

/// Where history ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deepen {
    /// So many commits from the wanted ones, along each line of parents (`deepen`): 1 for the wanted commits alone. More than there are is all of them.
    To(NonZeroU32),
}

/// What a fetch brought. It is in the object database already; `$GIT_DIR/shallow` is the caller's to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// The size of the answers, headers aside.
    pub(crate) bytes: u64,
    /// The number of objects in the pack, those that were here already included; 0 when none was sent.
    pub(crate) objects: u32,
    /// Commits that are here without their parents now: to add to `$GIT_DIR/shallow`.
    pub(crate) shallow: Vec<Oid>,
    /// Commits whose parents came: to take out of `$GIT_DIR/shallow`.
    pub(crate) unshallow: Vec<Oid>,
}
