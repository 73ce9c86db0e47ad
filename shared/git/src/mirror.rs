//! The mirror of one repository.
//!
//! Guarantees: fetches and pushes take turns; a mirror that git or libgit2 found damaged is put aside and made anew by
//! the next fetch. Reads and commits may run beside a fetch, and beside the replacement of a damaged mirror: they then fail with an
//! error of class `Retry`, never with a wrong answer.
//!
//! A mirror is either complete or partial (`partial.rs`). What a partial one was made without is brought when it is needed, so a read
//! may talk to the remote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockflight_promotion::plan::{Edit, Entry, File, Listing};
use lockflight_promotion::{CommitOid, PathInRepo, RepoId, TreeOid};

use crate::blocking::blocking;
use crate::changed::{self, ChangedPaths, ChangedPathsError, MergedPullRequest};
use crate::commit::{self, CommitError, CommitSpec, Committed};
use crate::foreign;
use crate::inspect::{self, InspectError};
use crate::listing;
use crate::mirrors::{Remote, Shared};
use crate::objects::{Missing, Objects};
use crate::partial::Bringing;
use crate::read::{self, Blobs, CommitInfo, Line, ReadError};
pub use crate::slot::PrepareError;
pub(crate) use crate::slot::Slot;
use crate::surgery;

/// The mirror of one repository on this machine, and the way to its remote. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) remote: Arc<Remote>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fetches: AtomicU64,
    pub(crate) listings: AtomicU64,
    pub(crate) pushes: AtomicU64,
    pub(crate) lazy_fetches: AtomicU64,
    pub(crate) lazy_objects: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
}

/// How often a repository's remote was talked to since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Fetches of branches.
    pub fetches: u64,
    /// Looks at where branches are.
    pub listings: u64,
    /// Pushes.
    pub pushes: u64,
    /// Fetches of what a partial mirror was made without.
    pub lazy_fetches: u64,
    /// The objects that those asked for.
    pub lazy_objects: u64,
    /// What all fetches brought, in bytes: as sent over HTTP, or as it lies in the packs of a complete mirror.
    pub bytes_received: u64,
}

impl Usage {
    /// All conversations together.
    #[must_use]
    pub const fn round_trips(self) -> u64 {
        self.fetches + self.listings + self.pushes + self.lazy_fetches
    }
}

impl Mirror {
    pub(crate) const fn new(shared: Arc<Shared>, slot: Arc<Slot>, remote: Arc<Remote>) -> Self {
        Self { shared, slot, remote }
    }

    /// The repository that is mirrored.
    #[must_use]
    pub fn repo(&self) -> RepoId {
        self.slot.repo
    }

    /// How often the remote was talked to, by all handles of this repository.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let usage = &self.slot.usage;
        Usage {
            fetches: usage.fetches.load(Ordering::Relaxed),
            listings: usage.listings.load(Ordering::Relaxed),
            pushes: usage.pushes.load(Ordering::Relaxed),
            lazy_fetches: usage.lazy_fetches.load(Ordering::Relaxed),
            lazy_objects: usage.lazy_objects.load(Ordering::Relaxed),
            bytes_received: usage.bytes_received.load(Ordering::Relaxed),
        }
    }

    /// What stands at each of `paths` in `commit`. Every path asked for is a key of the answer.
    ///
    /// # Errors
    /// When the commit was not fetched, or an object cannot be read. Never is that an [`Entry::Absent`].
    pub async fn entries(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Entry>, ReadError> {
        let (commit, paths) = (commit.clone(), paths.to_vec());
        self.read(move |objects| read::entries(objects, &commit, &paths))
            .await
    }

    /// What stands at `path` in `commit`.
    ///
    /// # Errors
    /// As [`Mirror::entries`].
    pub async fn entry(&self, commit: &CommitOid, path: &PathInRepo) -> Result<Entry, ReadError> {
        let (commit, path) = (commit.clone(), path.clone());
        self.read(move |objects| read::entry(objects, &commit, &path))
            .await
    }

    /// The content of the file at `path` in `commit`; `None` when it was read that there is nothing.
    ///
    /// # Errors
    /// When it is larger than `max_bytes`, a symlink, a directory or a submodule; when the commit was not fetched, or an
    /// object cannot be read.
    pub async fn blob(
        &self,
        commit: &CommitOid,
        path: &PathInRepo,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let (commit, path) = (commit.clone(), path.clone());
        self.read(move |objects| read::blob(objects, &commit, &path, max_bytes))
            .await
    }

    /// The contents of the files at `paths` in `commit`, as [`Mirror::blob`] has each. Every path asked for is a key of the answer.
    ///
    /// # Errors
    /// When the commit was not fetched, or an object cannot be read. What is about one file is said of that file.
    pub async fn blobs(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> Result<Blobs, ReadError> {
        let (commit, paths) = (commit.clone(), paths.to_vec());
        self.read(move |objects| read::blobs(objects, &commit, &paths, max_bytes))
            .await
    }

    /// The files below each of `paths` in `commit`, by their paths inside it; none where no directory stands. Every path asked for is a
    /// key of the answer.
    ///
    /// # Errors
    /// When one of them has more than 50,000 files; when the commit was not fetched, or an object cannot be read.
    pub async fn listings(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Listing>, ReadError> {
        let (commit, paths) = (commit.clone(), paths.to_vec());
        self.read(move |objects| listing::listings(objects, &commit, &paths))
            .await
    }

    /// The text of the files at `paths` in `commit`, or why it is none. Every path asked for is a key of the answer.
    ///
    /// # Errors
    /// When the commit was not fetched, or an object cannot be read. What is about one file is said of that file.
    pub async fn files(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> Result<BTreeMap<PathInRepo, File>, ReadError> {
        let (commit, paths) = (commit.clone(), paths.to_vec());
        self.read(move |objects| listing::files(objects, &commit, &paths, max_bytes))
            .await
    }

    /// Whether each of `edits`, by itself, would change anything at a commit, in their order. One that can't be made is said to: the
    /// commit tells why.
    ///
    /// # Errors
    /// When the commit was not fetched, or an object cannot be read.
    pub async fn would_change(
        &self,
        at: &CommitOid,
        edits: &[(PathInRepo, Edit)],
    ) -> Result<Vec<bool>, ReadError> {
        let (at, edits) = (at.clone(), edits.to_vec());
        self.read(move |objects| surgery::would_change(objects, &at, &edits))
            .await
    }

    /// What stood at each of `paths` in `from` and in the commits before it by first parents, for as long as they come after `until`: at
    /// most `most` of them, the newest first.
    ///
    /// # Errors
    /// When either commit was not fetched, or an object cannot be read.
    pub async fn entries_back(
        &self,
        from: &CommitOid,
        until: &CommitOid,
        most: usize,
        paths: &[PathInRepo],
    ) -> Result<Line, ReadError> {
        let (from, until, paths) = (from.clone(), until.clone(), paths.to_vec());
        self.read(move |objects| read::entries_back(objects, &from, &until, most, &paths))
            .await
    }

    /// The first parent of `commit`; none for the first commit of all.
    ///
    /// # Errors
    /// When the commit was not fetched or cannot be read.
    pub async fn parent(&self, commit: &CommitOid) -> Result<Option<CommitOid>, ReadError> {
        Ok(self.commit_info(commit).await?.parents.into_iter().next())
    }

    /// Whether `commit` is `of` or comes after it, by any line of parents.
    ///
    /// # Errors
    /// When either was not fetched, or the history cannot be read.
    pub async fn is_descendant(&self, commit: &CommitOid, of: &CommitOid) -> Result<bool, ReadError> {
        let (commit, of) = (commit.clone(), of.clone());
        self.read(move |objects| read::is_descendant(objects, &commit, &of))
            .await
    }

    /// The tree, parents and date of `commit`.
    ///
    /// # Errors
    /// When the commit was not fetched or cannot be read.
    pub async fn commit_info(&self, commit: &CommitOid) -> Result<CommitInfo, ReadError> {
        let commit = commit.clone();
        self.read(move |objects| read::commit_info(objects, &commit))
            .await
    }

    /// The paths that a merged pull request changed on its base branch, whichever way it was merged.
    ///
    /// # Errors
    /// When no way of merging explains what GitHub says of the pull request, or git cannot be read.
    pub async fn changed_paths(&self, request: MergedPullRequest) -> Result<ChangedPaths, ChangedPathsError> {
        self.read(move |objects| changed::changed_paths(objects, &request))
            .await
    }

    /// Looks through the trees that are about to travel, each with the place in `commit` that it comes from, for what must not:
    /// submodules, symlinks that lead out of their component, names that git or a file system could mistake.
    ///
    /// # Errors
    /// [`InspectError::Unsafe`] with the first thing found; otherwise when a tree is not the one that stands at its place, or
    /// cannot be read.
    pub async fn inspect(
        &self,
        commit: &CommitOid,
        sync: &[(PathInRepo, Option<TreeOid>)],
    ) -> Result<(), InspectError> {
        let (commit, sync) = (commit.clone(), sync.to_vec());
        self.read(move |objects| inspect::inspect(objects, &commit, &sync))
            .await
    }

    /// Writes a commit to the mirror's object database; no branch moves. The same spec gives the same object id anywhere.
    ///
    /// # Errors
    /// When the parent or a tree is not in the mirror, a file stands where a directory is needed, or the disk is full.
    pub async fn commit(&self, spec: CommitSpec) -> Result<Committed, CommitError> {
        let holds_foreign = self.holds_foreign(&spec);
        let (committed, made) = self
            .read(move |objects| {
                let (committed, mut made) = commit::commit(objects, &spec)?;
                if holds_foreign && committed.changed {
                    let before = objects.asked(&spec.parent)?.tree;
                    let tree = read::oid(committed.tree.as_str())?;
                    foreign::beyond(objects, tree, Some(before), &mut made)?;
                }
                Ok::<_, CommitError>((committed, made))
            })
            .await?;
        if committed.changed {
            self.slot.remember(read::oid(committed.oid.as_str())?, made);
        }
        Ok(committed)
    }

    /// Runs `work` on the mirror, brings what it misses and runs it again, until nothing is missing. Remembers when it finds damage.
    pub(crate) async fn read<T, E>(
        &self,
        work: impl Fn(&Objects<'_>) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + MirrorFailure + Send + 'static,
    {
        self.read_bringing(Bringing::taking_turns(), work).await
    }

    /// As [`Self::read`], with other rules for what is missing.
    pub(crate) async fn read_bringing<T, E>(
        &self,
        mut bringing: Bringing,
        work: impl Fn(&Objects<'_>) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + MirrorFailure + Send + 'static,
    {
        let work = Arc::new(work);
        loop {
            let (result, missing) = self.look(Arc::clone(&work)).await;
            if result.is_ok() || missing.is_empty() {
                return result;
            }
            self.bring(&mut bringing, missing).await.map_err(E::from)?;
        }
    }

    /// Runs `work` once on what is here.
    pub(crate) async fn look<T, E, W>(&self, work: Arc<W>) -> (Result<T, E>, Missing)
    where
        T: Send + 'static,
        E: From<ReadError> + MirrorFailure + Send + 'static,
        W: Fn(&Objects<'_>) -> Result<T, E> + Send + Sync + 'static,
    {
        let slot = Arc::clone(&self.slot);
        blocking(move || slot.look(&*work)).await
    }
}

/// An error that may tell of a damaged or incomplete mirror.
pub(crate) trait MirrorFailure {
    /// Whether the mirror has to be fetched anew.
    fn is_damage(&self) -> bool;

    /// Whether objects are missing that may be brought.
    fn is_incomplete(&self) -> bool;
}
