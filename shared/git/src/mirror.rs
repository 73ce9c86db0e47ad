//! The mirror of one repository.
//!
//! Guarantees: fetches and pushes take turns; a mirror that git or libgit2 found damaged is put aside and made anew by
//! the next fetch. Reads and commits may run beside a fetch, and beside the replacement of a damaged mirror: they then fail with an
//! error of class `Retry`, never with a wrong answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{fs, io};

use git2::{Repository, RepositoryInitOptions};
use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, PathInRepo, RepoId, TreeOid};

use crate::blocking::blocking;
use crate::changed::{self, ChangedPaths, ChangedPathsError, MergedPullRequest};
use crate::commit::{self, CommitError, CommitSpec, Committed};
use crate::inspect::{self, InspectError};
use crate::mirrors::{Remote, Shared};
use crate::read::{self, CommitInfo, ReadError};

/// The mirror of one repository on this machine, and the way to its remote. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) remote: Arc<Remote>,
}

/// What all handles of one repository share.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) repo: RepoId,
    pub(crate) dir: PathBuf,
    /// Held while a child works in the directory.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Counts the directories that have stood here; `damaged` is the number of the last that was found damaged.
    generation: AtomicU64,
    damaged: AtomicU64,
    /// Whether this process has looked for what a killed one left behind.
    swept: AtomicBool,
    pub(crate) usage: Counters,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fetches: AtomicU64,
    pub(crate) listings: AtomicU64,
    pub(crate) pushes: AtomicU64,
}

/// How often a repository's remote was talked to since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Runs of `git fetch`.
    pub fetches: u64,
    /// Runs of `git ls-remote`.
    pub listings: u64,
    /// Runs of `git push`.
    pub pushes: u64,
}

impl Usage {
    /// All conversations together.
    #[must_use]
    pub const fn round_trips(self) -> u64 {
        self.fetches + self.listings + self.pushes
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
        self.read(move |repo| read::entries(repo, &commit, &paths)).await
    }

    /// What stands at `path` in `commit`.
    ///
    /// # Errors
    /// As [`Mirror::entries`].
    pub async fn entry(&self, commit: &CommitOid, path: &PathInRepo) -> Result<Entry, ReadError> {
        let (commit, path) = (commit.clone(), path.clone());
        self.read(move |repo| read::entry(repo, &commit, &path)).await
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
        self.read(move |repo| read::blob(repo, &commit, &path, max_bytes))
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
        self.read(move |repo| read::is_descendant(repo, &commit, &of))
            .await
    }

    /// The tree, parents and date of `commit`.
    ///
    /// # Errors
    /// When the commit was not fetched or cannot be read.
    pub async fn commit_info(&self, commit: &CommitOid) -> Result<CommitInfo, ReadError> {
        let commit = commit.clone();
        self.read(move |repo| read::commit_info(repo, &commit)).await
    }

    /// The paths that a merged pull request changed on its base branch, whichever way it was merged.
    ///
    /// # Errors
    /// When no way of merging explains what GitHub says of the pull request, or git cannot be read.
    pub async fn changed_paths(&self, request: MergedPullRequest) -> Result<ChangedPaths, ChangedPathsError> {
        self.read(move |repo| changed::changed_paths(repo, &request))
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
        self.read(move |repo| inspect::inspect(repo, &commit, &sync))
            .await
    }

    /// Writes a commit to the mirror's object database; no branch moves. The same spec gives the same object id anywhere.
    ///
    /// # Errors
    /// When the parent or a tree is not in the mirror, a file stands where a directory is needed, or the disk is full.
    pub async fn commit(&self, spec: CommitSpec) -> Result<Committed, CommitError> {
        self.read(move |repo| commit::commit(repo, &spec)).await
    }

    /// Runs `work` on the mirror, and remembers when it finds damage.
    pub(crate) async fn read<T, E>(
        &self,
        work: impl FnOnce(&Repository) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + MirrorFailure + Send + 'static,
    {
        let slot = Arc::clone(&self.slot);
        blocking(move || {
            let generation = slot.generation();
            let repo = Repository::open_bare(&slot.dir).map_err(|source| E::from(ReadError::Open(source)))?;
            let result = work(&repo);
            if result.as_ref().err().is_some_and(MirrorFailure::is_damage) {
                slot.report_damage(generation);
            }
            result
        })
        .await
    }
}

/// An error that may tell of a damaged mirror.
pub(crate) trait MirrorFailure {
    /// Whether the mirror has to be fetched anew.
    fn is_damage(&self) -> bool;
}

impl Slot {
    pub(crate) fn new(repo: RepoId, root: &Path) -> Self {
        Self {
            repo,
            dir: root.join(format!("{repo}.git")),
            turn: tokio::sync::Mutex::new(()),
            generation: AtomicU64::new(1),
            damaged: AtomicU64::new(0),
            swept: AtomicBool::new(false),
            usage: Counters::default(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn report_damage(&self, generation: u64) {
        self.damaged.fetch_max(generation, Ordering::AcqRel);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire) >= self.generation()
    }

    /// Makes sure that a usable bare repository stands in the directory. Blocks; call it with the turn taken.
    pub(crate) fn prepare(&self) -> Result<Repository, PrepareError> {
        if self.is_damaged() {
            tracing::warn!(repo = %self.repo, "the mirror is damaged and is made anew");
            self.discard()?;
        }
        if !self.swept.swap(true, Ordering::AcqRel) {
            sweep(&self.dir)?;
        }
        if self.dir.exists() {
            match Repository::open_bare(&self.dir) {
                Ok(repo) => return Ok(repo),
                Err(error) => {
                    tracing::warn!(repo = %self.repo, %error, "the mirror cannot be opened and is made anew");
                    self.discard()?;
                }
            }
        }
        let mut options = RepositoryInitOptions::new();
        options.bare(true).no_reinit(true).external_template(false);
        Ok(Repository::init_opts(&self.dir, &options)?)
    }

    /// The size of all packs. What git fetches it keeps in packs, since it checks every object (`transfer.fsckObjects`). Blocks.
    pub(crate) fn packed_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.dir.join("objects/pack"))? {
            let entry = entry?;
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "pack")
            {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(bytes)
    }

    /// Puts the directory aside in one step, so that nobody sees half of it, and removes it.
    fn discard(&self) -> io::Result<()> {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel);
        let aside = self.dir.with_file_name(format!(
            "discarded-{}-{}-{generation}",
            self.repo,
            std::process::id()
        ));
        match fs::rename(&self.dir, &aside) {
            // What cannot be removed now is removed at the next start.
            Ok(()) => {
                if let Err(error) = fs::remove_dir_all(&aside) {
                    tracing::warn!(repo = %self.repo, %error, "a damaged mirror could not be removed");
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The mirror's directory could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The file system failed.
    #[error("the mirror's directory cannot be made or replaced; check the disk and its permissions")]
    Io(#[from] io::Error),
    /// libgit2 failed.
    #[error("the mirror's directory cannot be made a repository")]
    Git(#[from] git2::Error),
}

/// Removes the lock files and half-received packs of a process that was killed. Only this process uses the root, so whatever is
/// there when it begins is stale.
fn sweep(dir: &Path) -> io::Result<()> {
    fn remove(dir: &Path, deep: bool, stale: &dyn Fn(&[u8]) -> bool) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let is_dir = entry.file_type()?.is_dir();
            match (stale(entry.file_name().as_encoded_bytes()), is_dir) {
                (true, true) => fs::remove_dir_all(entry.path())?,
                (true, false) => fs::remove_file(entry.path())?,
                (false, true) if deep => remove(&entry.path(), deep, stale)?,
                (false, _) => {}
            }
        }
        Ok(())
    }
    let lock = |name: &[u8]| name.ends_with(b".lock");
    let half = |name: &[u8]| name.starts_with(b"tmp_") || name.starts_with(b"incoming-");
    remove(dir, false, &lock)?;
    remove(&dir.join("refs"), true, &lock)?;
    remove(&dir.join("objects"), false, &half)?;
    remove(&dir.join("objects/pack"), false, &half)
}
