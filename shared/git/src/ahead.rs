//! What a batch of steps is about to read, brought all at once.

use std::collections::BTreeMap;

use lockflight_promotion::{CommitOid, PathInRepo};

use crate::mirror::{Mirror, MirrorFailure as _};
use crate::objects::Objects;
use crate::read::{self, ReadError};

/// What one step is about to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The commit that it promotes.
    pub promoted: CommitOid,
    /// Where the trees that travel stand in it. They will be looked through.
    pub sources: Vec<PathInRepo>,
    /// Where they go to, at the head of the branch.
    pub targets: Vec<PathInRepo>,
}

impl Mirror {
    /// Brings what these steps are about to read, of the commits that they promote, of the branch at `head`, and of at most `history` commits
    /// between: so many steps cost as many requests as the deepest path is deep, where each by itself would cost some.
    ///
    /// It is a help and nothing more. What can't be brought is left for the read that needs it, which says what is wrong.
    pub async fn bring_ahead(&self, head: &CommitOid, history: usize, steps: &[Ahead]) {
        let mut sources: BTreeMap<CommitOid, Vec<PathInRepo>> = BTreeMap::new();
        let mut targets = Vec::new();
        for step in steps {
            let of_commit = sources.entry(step.promoted.clone()).or_default();
            of_commit.extend(step.sources.iter().cloned());
            targets.extend(step.targets.iter().cloned());
        }
        for paths in sources.values_mut().chain([&mut targets]) {
            paths.sort();
            paths.dedup();
        }
        let head = head.clone();
        let brought = self
            .read(move |objects| {
                if !objects.is_partial() {
                    return Ok(());
                }
                let now = left_alone(read::entries(objects, &head, &targets));
                let then = Objects::each(&sources, |(commit, paths)| {
                    let whole = left_alone(read::whole(objects, commit, paths));
                    let line = left_alone(read::entries_back(objects, &head, commit, history, paths));
                    whole.and(line)
                });
                now.and(then.map(drop))
            })
            .await;
        if let Err(error) = brought {
            tracing::debug!(%error, "not all that a batch will read could be brought ahead");
        }
    }
}

/// What can't be read is no concern here, what is only missing is.
fn left_alone<T>(read: Result<T, ReadError>) -> Result<(), ReadError> {
    match read {
        Err(error) if error.is_incomplete() => Err(error),
        _ => Ok(()),
    }
}
