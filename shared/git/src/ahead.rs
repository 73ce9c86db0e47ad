//! What a batch of steps is about to read, brought all at once.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Where each tree that travels stands in it, and where it goes to at the head of the branch. The trees will be looked through.
    pub moves: Vec<(PathInRepo, PathInRepo)>,
}

impl Mirror {
    /// Brings what these steps are about to read, of the commits that they promote, of the branch at `head`, and of at most `history` commits
    /// between: so many steps cost as many requests as the deepest path is deep, where each by itself would cost some.
    ///
    /// It is a help and nothing more. What can't be brought is left for the read that needs it, which says what is wrong.
    pub async fn bring_ahead(&self, head: &CommitOid, history: usize, steps: &[Ahead]) {
        let targets = distinct(steps.iter().flat_map(|step| &step.moves).map(|(_, to)| to));
        let mut commits: BTreeMap<CommitOid, Vec<(PathInRepo, PathInRepo)>> = BTreeMap::new();
        for step in steps {
            let moves = commits.entry(step.promoted.clone()).or_default();
            moves.extend(step.moves.iter().cloned());
        }
        let head = head.clone();
        let brought = self
            .read(move |objects| {
                if !objects.is_partial() {
                    return Ok(());
                }
                let now = read::entries(objects, &head, &targets);
                let then = Objects::each(&commits, |(commit, moves)| {
                    look(objects, &head, history, now.as_ref().ok(), commit, moves)
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

/// Reads what the steps that promote one commit will read. `now` is what stands at the targets, once that is known.
fn look(
    objects: &Objects<'_>,
    head: &CommitOid,
    history: usize,
    now: Option<&BTreeMap<PathInRepo, Entry>>,
    commit: &CommitOid,
    moves: &[(PathInRepo, PathInRepo)],
) -> Result<(), ReadError> {
    let sources = distinct(moves.iter().map(|(from, _)| from));
    let then = read::entries(objects, commit, &sources);
    let whole = left_alone(read::whole(objects, commit, &sources));
    // What is carried already has no need of what came later.
    let (open, most) = match (now, &then) {
        (Some(now), Ok(then)) => {
            let open = moves.iter().filter(|(from, to)| then.get(from) != now.get(to));
            (distinct(open.map(|(from, _)| from)), history)
        }
        _ => (sources, history.min(FEW)),
    };
    let line = if open.is_empty() || head == commit {
        Ok(())
    } else {
        left_alone(read::entries_back(objects, head, commit, most, &open))
    };
    left_alone(then).and(whole).and(line)
}

fn distinct<'a>(paths: impl Iterator<Item = &'a PathInRepo>) -> Vec<PathInRepo> {
    let distinct: BTreeSet<&PathInRepo> = paths.collect();
    distinct.into_iter().cloned().collect()
}

/// What can't be read is no concern here, what is only missing is.
fn left_alone<T>(read: Result<T, ReadError>) -> Result<(), ReadError> {
    match read {
        Err(error) if error.is_incomplete() => Err(error),
        _ => Ok(()),
    }
}
