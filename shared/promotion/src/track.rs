//! Tracks: the pull requests that lead from one source to the same targets, one change after another.
//!
//! On a track a newer change may take the place of an older one whose pull request is still open, for nothing is lost by that: what is
//! promoted is the content that stands at the source, and at the newer change that holds the older one. Which is newer is told by ancestry,
//! which is not known here; what is known here is whether the one brings all that the other would.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::change::{Change, hex};
use crate::plan::{Step, Sync};
use crate::policy::{Flow, Group};
use crate::values::KeyPath;
use crate::{Base, CommitOid, PathInRepo, PrNumber, RepoId, Selection, TrackId};

/// The most components at targets of a step that can be superseded, so that a marker has room to name them.
const PARTS_LIMIT: usize = 200;
/// The most pull requests that are remembered as replaced.
const REPLACED_LIMIT: usize = 30;

/// The track of a step, and what becomes of the pull requests of older changes on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Which.
    pub id: TrackId,
    /// Whether the pull request of an older change is to be taken over. Else it is closed.
    #[serde(default)]
    pub in_place: bool,
}

/// What makes a track: all of a flow that decides where content comes from, which of it travels, and where to.
#[derive(Serialize)]
struct Identity<'a> {
    source: &'a str,
    source_file: Option<&'a PathInRepo>,
    from: Base,
    repo: RepoId,
    base: &'a Base,
    targets: Vec<(&'a PathInRepo, Option<&'a PathInRepo>)>,
    selection: &'a Selection,
    keys: &'a [KeyPath],
}

impl Track {
    /// The track of what a flow brings to a group of targets at `base`.
    pub(crate) fn of(
        change: &Change,
        flow: &Flow,
        group: &Group,
        base: &Base,
        in_place: bool,
    ) -> Result<Self, serde_json::Error> {
        let mut targets: Vec<_> = group
            .targets
            .iter()
            .map(|target| (&target.path, target.file.as_ref()))
            .collect();
        targets.sort_unstable();
        let identity = serde_json::to_vec(&Identity {
            source: flow.source.directories.as_str(),
            source_file: flow.source.file.as_ref(),
            from: Base {
                repo: None,
                branch: flow.source.branch.clone(),
            },
            repo: change.repo.id,
            base,
            targets,
            selection: &flow.selection,
            keys: &flow.keys,
        })?;
        let digest = Sha256::new_with_prefix("lockflight:track:v1\n").chain_update(identity);
        Ok(Self {
            id: TrackId::from_valid(hex(&digest.finalize())),
            in_place,
        })
    }
}

/// What a pull request on a track is to bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aim {
    /// The track.
    pub track: TrackId,
    /// The commit that the content is from: that of the change.
    pub change: CommitOid,
    /// What of it goes where: for each component at a target 12 hexadecimal digits, sorted.
    pub parts: Vec<String>,
}

impl Aim {
    /// What the pull request of a step is to bring. None if nothing is superseded there, or if the step has too many parts.
    #[must_use]
    pub fn of(change: &Change, step: &Step) -> Option<Self> {
        let track = step.track.as_ref()?;
        if step.sync.len() > PARTS_LIMIT {
            return None;
        }
        let mut parts: Vec<String> = step.sync.iter().map(part).collect();
        parts.sort_unstable();
        parts.dedup();
        Some(Self {
            track: track.id.clone(),
            change: change.merged_as.clone(),
            parts,
        })
    }

    /// Whether this brings all that `other` would, from another commit. If that is the older one, it may go.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.track == other.track
            && self.change != other.change
            && other
                .parts
                .iter()
                .all(|part| self.parts.binary_search(part).is_ok())
    }
}

fn part(sync: &Sync) -> String {
    let digest = Sha256::digest(format!("{}\0{}", sync.from, sync.to));
    hex(&digest).chars().take(12).collect()
}

/// Where a pull request is on its track, as its marker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it is to bring.
    pub aim: Aim,
    /// The commit that was made for it. With another head, people have pushed to it.
    pub made: CommitOid,
    /// The pull requests whose place it took, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
    /// The pull request of a newer change that has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<PrNumber>,
}

/// A pull request whose place a newer one took.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replaced {
    /// The pull request.
    pub number: PrNumber,
    /// The pull request of the change that it was to bring.
    pub change: PrNumber,
}

impl Standing {
    /// Remembers that this takes the place of others. Of very many, the oldest are forgotten.
    pub fn replace(&mut self, others: impl IntoIterator<Item = Replaced>) {
        self.replaced.extend(others);
        self.replaced.sort_unstable();
        self.replaced.dedup();
        let surplus = self.replaced.len().saturating_sub(REPLACED_LIMIT);
        self.replaced.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn aim(track: char, change: char, parts: &[u8]) -> Aim {
        let mut parts: Vec<String> = parts.iter().map(|part| format!("{part:012x}")).collect();
        parts.sort_unstable();
        parts.dedup();
        Aim {
            track: TrackId::parse(track.to_string().repeat(64)).unwrap(),
            change: CommitOid::parse(change.to_string().repeat(40)).unwrap(),
            parts,
        }
    }

    #[test]
    fn one_covers_another_when_it_brings_all_of_it_on_the_same_track() {
        let older = aim('1', 'a', &[1, 2]);
        assert!(aim('1', 'b', &[1, 2]).covers(&older));
        assert!(aim('1', 'b', &[1, 2, 3]).covers(&older));
        assert!(!aim('1', 'b', &[1, 3]).covers(&older), "a part would be lost");
        assert!(!aim('2', 'b', &[1, 2]).covers(&older), "it leads elsewhere");
        assert!(!aim('1', 'a', &[1, 2]).covers(&older), "it is the same change");
    }

    #[test]
    fn what_was_replaced_is_kept_once_and_within_bounds() {
        let mut standing = Standing {
            aim: aim('1', 'a', &[]),
            made: CommitOid::parse("c".repeat(40)).unwrap(),
            replaced: Vec::new(),
            superseded_by: None,
        };
        let replaced = |number| Replaced {
            number: PrNumber::new(number),
            change: PrNumber::new(number - 1),
        };
        standing.replace([replaced(4), replaced(2), replaced(4)]);
        assert_eq!(standing.replaced, [replaced(2), replaced(4)]);
        standing.replace((10..100).map(replaced));
        assert_eq!(standing.replaced.len(), REPLACED_LIMIT);
        assert_eq!(standing.replaced.last(), Some(&replaced(99)));
    }

    proptest! {
        #[test]
        fn covering_is_transitive(a in proptest::collection::vec(0_u8..6, 0..6), b in proptest::collection::vec(0_u8..6, 0..6), c in proptest::collection::vec(0_u8..6, 0..6)) {
            let (a, b, c) = (aim('1', 'a', &a), aim('1', 'b', &b), aim('1', 'c', &c));
            prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
        }
    }
}
