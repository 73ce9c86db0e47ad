//! Names of keys and channels.

use lockflight_promotion::RepoId;

use super::options::KeyPrefix;
use crate::{MemberId, Role};

/// Makes names of keys and channels. The braces keep the keys of one script on one node of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &KeyPrefix) -> Self {
        Self {
            prefix: prefix.as_str().to_owned(),
        }
    }

    /// A hash while the lock is held: `token`, `fence`, `lease` (ms), `holder`.
    pub(super) fn lock(&self, repo: RepoId) -> String {
        format!("{}:lock:{{{repo}}}", self.prefix)
    }

    /// The number of the last grant. It never expires.
    pub(super) fn fence(&self, repo: RepoId) -> String {
        format!("{}:fence", self.lock(repo))
    }

    /// The waiters' tickets by their number.
    pub(super) fn line(&self, repo: RepoId) -> String {
        format!("{}:line", self.lock(repo))
    }

    /// The waiters' tickets by when each asked last.
    pub(super) fn seen(&self, repo: RepoId) -> String {
        format!("{}:seen", self.lock(repo))
    }

    /// The members of a role by their last heartbeat.
    pub(super) fn members(&self, role: Role) -> String {
        format!("{}:members:{role}", self.prefix)
    }

    /// Where it is tried out whether Redis can be worked with.
    pub(super) fn probe(&self, me: &MemberId) -> String {
        format!("{}:probe:{me}", self.prefix)
    }

    /// The prefix of the channels on which processes are told that it is a ticket's turn.
    pub(super) fn wakes(&self) -> String {
        format!("{}:wake:", self.prefix)
    }

    /// The channel on which a process is told that it is a ticket's turn.
    pub(super) fn wake(&self, process: &str) -> String {
        format!("{}:wake:{process}", self.prefix)
    }

    /// The channel on which it is told that members of a role came or went.
    pub(super) fn members_changed(&self) -> String {
        format!("{}:members", self.prefix)
    }
}
