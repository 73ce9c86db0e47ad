//! What a batch of steps is about to read, brought all at once.

use std::collections::BTreeMap;

use lockflight_promotion::plan::Entry;
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
    /// Where each of them goes to, at the head of the branch.
    pub targets: Vec<PathInRepo>,
}

impl Mirror {
    /// Brings what these steps are about to read, of the commits that they promote, of the branch at `head`, and of at most `history` commits
    /// between: so many steps cost as many requests as the deepest path is deep, where each by itself would cost some.
    ///
    /// It is a help and nothing more. What can't be brought is left for the read that needs it, which says what is wrong.
    pub async fn bring_ahead(&self, head: &CommitOid, history: usize, steps: &[Ahead]) {
        let mut targets: Vec<PathInRepo> = steps
            .iter()
            .flat_map(|step| step.targets.iter().cloned())
            .collect();
        targets.sort();
        targets.dedup();
        let mut sources: BTreeMap<CommitOid, Vec<&Ahead>> = BTreeMap::new();
        for step in steps {
            sources.entry(step.promoted.clone()).or_default().push(step);
        }
        let sources: Vec<OfCommit> = sources
            .into_iter()
            .map(|(commit, steps)| OfCommit::new(commit, &steps))
            .collect();
        let head = head.clone();
        let brought = self
            .read(move |objects| {
                if !objects.is_partial() {
                    return Ok(());
                }
                let now = read::entries(objects, &head, &targets);
                let then = Objects::each(&sources, |of_commit| {
                    of_commit.look(objects, &head, history, now.as_ref().ok())
                });
                left_alone(now).and(then.map(drop))
            })
            .await;
        if let Err(error) = brought {
            tracing::debug!(%error, "not all that a batch will read could be brought ahead");
        }
    }
}

/// So many commits are looked at while it is not known yet what will be needed of them.
const FEW: usize = 16;

/// What is about to be read for the steps that promote one commit.
struct OfCommit {
    commit: CommitOid,
    /// All that travels.
    sources: Vec<PathInRepo>,
    /// Each with where it goes to.
    pairs: Vec<(PathInRepo, PathInRepo)>,
}

impl OfCommit {
    fn new(commit: CommitOid, steps: &[&Ahead]) -> Self {
        let mut sources: Vec<PathInRepo> = steps
            .iter()
            .flat_map(|step| step.sources.iter().cloned())
            .collect();
        sources.sort();
        sources.dedup();
        let pairs = steps
            .iter()
            .flat_map(|step| step.sources.iter().cloned().zip(step.targets.iter().cloned()))
            .collect();
        Self {
            commit,
            sources,
            pairs,
        }
    }

    /// Reads it. `now` is what stands at the targets, once that is known.
    fn look(
        &self,
        objects: &Objects<'_>,
        head: &CommitOid,
        history: usize,
        now: Option<&BTreeMap<PathInRepo, Entry>>,
    ) -> Result<(), ReadError> {
        let then = read::entries(objects, &self.commit, &self.sources);
        let whole = left_alone(read::whole(objects, &self.commit, &self.sources));
        // What is carried already has no need of what came later.
        let (open, most) = match (now, &then) {
            (Some(now), Ok(then)) => {
                let open = self
                    .pairs
                    .iter()
                    .filter(|(from, to)| then.get(from) != now.get(to));
                let mut open: Vec<PathInRepo> = open.map(|(from, _)| from.clone()).collect();
                open.sort();
                open.dedup();
                (open, history)
            }
            _ => (self.sources.clone(), history.min(FEW)),
        };
        let line = if open.is_empty() || *head == self.commit {
            Ok(())
        } else {
            left_alone(read::entries_back(objects, head, &self.commit, most, &open))
        };
        left_alone(then).and(whole).and(line)
    }
}

/// What can't be read is no concern here, what is only missing is.
fn left_alone<T>(read: Result<T, ReadError>) -> Result<(), ReadError> {
    match read {
        Err(error) if error.is_incomplete() => Err(error),
        _ => Ok(()),
    }
}
