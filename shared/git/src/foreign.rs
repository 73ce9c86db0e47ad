//! Content of another repository, brought so that a commit here can hold it.
//!
//! What is brought lies in the mirror and is reached by nothing until a commit here holds it. Only a push of such a commit sends of it what the
//! commit holds and its parent does not ([`Mirror::commit`]); no other push has a way to it. Content travels as it is, by its ids: nothing is
//! smudged, and a file that is kept in LFS travels as its pointer.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use git2::{Indexer, Oid};
use lockflight_promotion::plan::Edit;
use lockflight_promotion::{CommitOid, ErrorClass, PathInRepo};

use crate::commit::CommitSpec;
use crate::extent::DEEPEST;
use crate::mirror::{Mirror, MirrorFailure};
use crate::objects::Objects;
use crate::partial::Way;
use crate::read::{Found, KIND, Lookup, ReadError, SUBMODULE, oid};
use crate::transport_error::TransportError;
use crate::wire::{self, Filter, Request};

/// What one call brings, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Directories and files in all, those included that are here already.
    pub(crate) objects: usize,
    /// Bytes: as the other server sends them, or as they are where they lie in the other mirror already.
    pub(crate) bytes: u64,
}

pub(crate) const LIMITS: Limits = Limits {
    objects: 100_000,
    bytes: 1 << 30,
};

/// What was brought from another repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// The directories and files that were not here yet.
    pub objects: usize,
    /// Their bytes: as the other server sent them, or as they lay in the other mirror.
    pub bytes: u64,
}

/// Content of another repository that could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum BringError {
    /// The other repository can't be read.
    #[error("the repository that content is taken from can't be read")]
    There(#[from] ReadError),
    /// The mirror that it is brought to can't be read: nothing was fetched there yet, or it is damaged.
    #[error("the mirror of the target repository can't be read")]
    Here(#[source] ReadError),
    /// The other server did not send it, or the disk did not take it.
    #[error("content of another repository could not be brought")]
    Transport(#[from] TransportError),
    /// It is more than is brought.
    #[error(
        "more than {most} {what} would travel from the other repository, or directories that lie in each other too deep; split it into smaller components"
    )]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// libgit2 could not write it down.
    #[error("content of another repository could not be written; check that the disk is not full")]
    Store(#[source] git2::Error),
}

impl BringError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::There(error) | Self::Here(error) => error.class(),
            Self::Transport(error) => error.class(),
            Self::TooMuch { .. } => ErrorClass::User,
            Self::Store(_) => ErrorClass::Retry,
        }
    }
}

impl MirrorFailure for BringError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::There(error) if error.is_damage())
    }

    fn is_incomplete(&self) -> bool {
        matches!(self, Self::There(error) if error.is_incomplete())
    }
}

impl Mirror {
    /// Brings what stands at `paths` in a commit of another repository, with all files in it, so that a commit here can hold it. What is not
    /// there brings nothing, and neither does a submodule. The commit has to be fetched there, and something here.
    ///
    /// # Errors
    /// When it is more than 100,000 directories and files or 1 GiB, when either mirror can't be read, or when the other repository's remote or the
    /// disk fails. A repository of SHA-256 object ids was refused when it was fetched.
    #[tracing::instrument(skip_all, fields(repo = %self.repo(), from = %other.repo()))]
    pub async fn bring_from(
        &self,
        other: &Self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<Brought, BringError> {
        self.bring_within(other, commit, paths, LIMITS).await
    }

    pub(crate) async fn bring_within(
        &self,
        other: &Self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        limits: Limits,
    ) -> Result<Brought, BringError> {
        if self.repo() == other.repo() {
            return Ok(Brought::default());
        }
        let (at, places) = (commit.clone(), paths.to_vec());
        let Contents { tops, trees, blobs } = other
            .read(move |objects| contents(objects, &at, &places, limits.objects))
            .await?;
        // From now on a commit that holds one of these is pushed with all of it.
        self.slot.note_foreign(tops);
        let lacked = self.lacked(trees.union(&blobs).copied().collect()).await?;
        if lacked.is_empty() {
            return Ok(Brought::default());
        }
        let _turn = self.slot.turn.lock().await;
        // Another task may have brought it while this one waited.
        let lacked = self.lacked(lacked).await?;
        let (lying, missing) = other.lying(lacked.clone()).await?;
        let mut brought = Brought {
            objects: lacked.len(),
            bytes: 0,
        };
        brought.bytes += self.bring_missing(other, missing, limits.bytes).await?;
        let left = limits.bytes.saturating_sub(brought.bytes);
        brought.bytes += self.copy_from(other, lying, left, limits.bytes).await?;
        if self.lacked(lacked).await?.is_empty() {
            return Ok(brought);
        }
        Err(BringError::Transport(TransportError::NoSuchObject {
            detail: "it was asked for by its id, and did not come".to_owned(),
        }))
    }

    /// Those objects that are not here.
    async fn lacked(&self, ids: BTreeSet<Oid>) -> Result<BTreeSet<Oid>, BringError> {
        let lacked = move |objects: &Objects<'_>| {
            let lacked = ids.iter().copied().filter(|id| !objects.has(*id));
            Ok::<_, ReadError>(lacked.collect())
        };
        self.look(Arc::new(lacked)).await.0.map_err(BringError::Here)
    }

    /// Those objects that are here, and those that are not.
    async fn lying(&self, ids: BTreeSet<Oid>) -> Result<(Vec<Oid>, Vec<Oid>), BringError> {
        let parted = move |objects: &Objects<'_>| {
            let (lying, missing): (Vec<Oid>, Vec<Oid>) = ids.iter().copied().partition(|id| objects.has(*id));
            match missing.first() {
                Some(id) if !objects.is_partial() => Err(BringError::There(ReadError::Damaged {
                    what: format!("object {id}"),
                    source: git2::Error::from_str("it is not there"),
                })),
                _ => Ok((lying, missing)),
            }
        };
        self.look(Arc::new(parted)).await.0
    }

    /// Has another repository's server send objects right into this mirror. Returns how many bytes came.
    async fn bring_missing(&self, other: &Self, ids: Vec<Oid>, most: u64) -> Result<u64, BringError> {
        let mut bytes = 0;
        if ids.is_empty() {
            return Ok(bytes);
        }
        let Way::Wire { filter } = other.way().await? else {
            return Err(TransportError::NoVersion2.into());
        };
        let usage = &other.slot.usage;
        for wants in ids.chunks(Request::MOST_WANTS) {
            let request = Request {
                wants: wants.to_vec(),
                filter: filter.then_some(Filter::TreeDepth(0)),
                most_bytes: Some(most.saturating_sub(bytes)),
                ..Request::default()
            };
            usage.lazy_fetches.fetch_add(1, Ordering::Relaxed);
            usage
                .lazy_objects
                .fetch_add(wants.len() as u64, Ordering::Relaxed);
            let received = self
                .shared
                .wire
                .fetch(&other.remote, &self.slot.dir, &request)
                .await;
            self.slot.packs_changed();
            let received = received.map_err(|error| match error {
                TransportError::TooLarge {
                    what: wire::BYTES_IN_ONE_ANSWER,
                    ..
                } => too_many_bytes(most),
                error => BringError::Transport(error),
            })?;
            usage.bytes_received.fetch_add(received.bytes, Ordering::Relaxed);
            bytes += received.bytes;
        }
        Ok(bytes)
    }

    /// Copies objects that lie in another mirror. Returns how many bytes they have.
    async fn copy_from(&self, other: &Self, ids: Vec<Oid>, left: u64, most: u64) -> Result<u64, BringError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let dir = self.slot.dir.clone();
        let copied = other
            .look(Arc::new(move |objects: &Objects<'_>| {
                let bytes = size(objects, &ids)?;
                if bytes > left {
                    return Err(too_many_bytes(most));
                }
                copy(objects, &ids, &dir)?;
                Ok(bytes)
            }))
            .await
            .0;
        self.slot.packs_changed();
        copied
    }

    /// Whether a commit is to hold what was brought from elsewhere.
    pub(crate) fn holds_foreign(&self, spec: &CommitSpec) -> bool {
        spec.edits.iter().any(|(_, edit)| match edit {
            Edit::Whole(Some(tree)) | Edit::Selected(Some(tree), _) => {
                oid(tree.as_str()).is_ok_and(|tree| self.slot.is_foreign(tree))
            }
            // What keys are set to is written here.
            Edit::Whole(None) | Edit::Selected(None, _) | Edit::Keys(_) => false,
        })
    }
}

const fn too_many_bytes(most: u64) -> BringError {
    BringError::TooMuch { what: "bytes", most }
}

/// What is to be brought.
#[derive(Debug, Default)]
struct Contents {
    /// The trees at the paths themselves.
    tops: BTreeSet<Oid>,
    trees: BTreeSet<Oid>,
    blobs: BTreeSet<Oid>,
}

impl Contents {
    fn add(
        &mut self,
        objects: &Objects<'_>,
        found: Found,
        most: usize,
        depth: usize,
    ) -> Result<(), BringError> {
        let fresh = match found.mode & KIND {
            SUBMODULE => return Ok(()),
            _ if found.is_directory() => self.trees.insert(found.id),
            _ => self.blobs.insert(found.id),
        };
        if depth > DEEPEST || self.trees.len() + self.blobs.len() > most {
            return Err(BringError::TooMuch {
                what: "directories and files",
                most: most as u64,
            });
        }
        if !found.is_directory() || !fresh {
            return Ok(());
        }
        let tree = objects.whole_tree(found.id)?;
        Objects::each(&tree, |entry| {
            self.add(objects, Found::of(&entry), most, depth + 1)
        })
        .map(drop)
    }
}

fn contents(
    objects: &Objects<'_>,
    commit: &CommitOid,
    paths: &[PathInRepo],
    most: usize,
) -> Result<Contents, BringError> {
    let mut lookup = Lookup::new(objects, commit)?;
    let mut contents = Contents::default();
    Objects::each(paths, |path| {
        let Some(found) = lookup.find(path)? else {
            return Ok(());
        };
        if found.is_directory() {
            contents.tops.insert(found.id);
        }
        contents.add(objects, found, most, 0)
    })?;
    Ok(contents)
}

/// How many bytes objects have that are here.
fn size(objects: &Objects<'_>, ids: &[Oid]) -> Result<u64, ReadError> {
    let mut bytes = 0_u64;
    for id in ids {
        let header = objects.odb.read_header(*id);
        let (size, _) = header.map_err(ReadError::damaged(|| format!("object {id}")))?;
        bytes = bytes.saturating_add(size as u64);
    }
    Ok(bytes)
}

/// Copies objects into the repository at `into`, as one pack that goes from one to the other piece by piece.
fn copy(objects: &Objects<'_>, ids: &[Oid], into: &Path) -> Result<(), BringError> {
    let read = |source| BringError::There(ReadError::damaged(|| "an object that is to be copied")(source));
    let mut builder = objects.repo.packbuilder().map_err(read)?;
    builder.set_threads(1);
    for id in ids {
        builder.insert_object(*id, None).map_err(read)?;
    }
    let staging = wire::staging(into)?;
    let mut indexer = Indexer::new(None, staging.path(), 0, false).map_err(BringError::Store)?;
    let mut failed: Option<io::Error> = None;
    let built = builder.foreach(|part| match indexer.write_all(part) {
        Ok(()) => true,
        Err(error) => {
            failed = Some(error);
            false
        }
    });
    if let Some(error) = failed {
        return Err(wire::written(error).into());
    }
    built.map_err(read)?;
    let name = indexer.commit().map_err(BringError::Store)?;
    wire::install(&staging, into, &name, false)?;
    Ok(())
}

/// Collects what is here of a tree and not in another one at the same place. That is too much rather than too little.
///
/// Trees of the other one that are missing are asked for, so that what the server has is not sent again.
pub(crate) fn beyond(
    objects: &Objects<'_>,
    new: Oid,
    old: Option<Oid>,
    found: &mut BTreeSet<Oid>,
) -> Result<(), ReadError> {
    let mut seen = BTreeSet::new();
    beyond_at(objects, new, old, &mut seen)?;
    found.append(&mut seen);
    Ok(())
}

fn beyond_at(
    objects: &Objects<'_>,
    new: Oid,
    old: Option<Oid>,
    seen: &mut BTreeSet<Oid>,
) -> Result<(), ReadError> {
    // What is not here was not brought here.
    if Some(new) == old || !objects.has(new) || !seen.insert(new) {
        return Ok(());
    }
    let new = objects.tree(new)?;
    let old = old.map(|old| objects.whole_tree(old)).transpose()?;
    Objects::each(&new, |entry| {
        let found = Found::of(&entry);
        let before = old
            .as_ref()
            .and_then(|old| old.get_name_bytes(entry.name_bytes()))
            .map(|entry| Found::of(&entry));
        match found.mode & KIND {
            SUBMODULE => Ok(()),
            _ if found.is_directory() => {
                let before = before.filter(Found::is_directory).map(|before| before.id);
                beyond_at(objects, found.id, before, seen)
            }
            _ => {
                if before.is_none_or(|before| before.id != found.id) && objects.has(found.id) {
                    seen.insert(found.id);
                }
                Ok(())
            }
        }
    })
    .map(drop)
}
