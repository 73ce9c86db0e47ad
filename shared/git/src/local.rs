//! A repository on this machine, read and never written, for working offline.

use std::collections::BTreeMap;
use std::path::Path;

use git2::{ErrorCode, Repository, RepositoryOpenFlags};
use lockflight_promotion::plan::{Edit, Entry, File, Listing};
use lockflight_promotion::{BranchName, CommitOid, PathInRepo, TreeOid};

use crate::changed::changed_between;
use crate::commit;
use crate::commit::{CommitError, CommitSpec, Committed};
use crate::inspect::{self, InspectError};
use crate::listing;
use crate::objects::Objects;
use crate::read::{self, CommitInfo, ReadError, commit_oid, oid};
use crate::surgery;

/// A repository on this machine, read and never written: no file in it changes, appears or gets a new time stamp.
///
/// Everything here blocks; it is for the command line.
pub struct LocalRepository {
    repo: Repository,
}

impl std::fmt::Debug for LocalRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LocalRepository").field(&self.repo.path()).finish()
    }
}

/// A local repository or a revision of it that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// There is no repository.
    #[error("{path} is not in a git repository")]
    NotARepository {
        /// The directory.
        path: String,
    },
    /// It cannot be opened.
    #[error("the git repository at {path} cannot be opened")]
    Open {
        /// The directory.
        path: String,
        /// What libgit2 said.
        #[source]
        source: git2::Error,
    },
    /// There is no such commit.
    #[error("{rev:?} names no commit of the repository; give a branch, a tag or a commit id that is there")]
    NoSuchRevision {
        /// What was given.
        rev: String,
        /// What libgit2 said.
        #[source]
        source: git2::Error,
    },
    /// The two commits have no common ancestor.
    #[error("commits {one} and {other} have no common ancestor")]
    Unrelated {
        /// The one.
        one: CommitOid,
        /// The other.
        other: CommitOid,
    },
    /// It cannot be read.
    #[error("the repository cannot be read")]
    Read(#[from] ReadError),
}

impl LocalRepository {
    /// Opens the repository that `path` is in, bare or not.
    ///
    /// # Errors
    /// When there is none, it belongs to another user, or is of a kind that libgit2 cannot read (SHA-256).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LocalError> {
        let path = path.as_ref();
        let shown = || path.display().to_string();
        let none: [&std::ffi::OsStr; 0] = [];
        let repo =
            Repository::open_ext(path, RepositoryOpenFlags::empty(), none).map_err(|source| match source
                .code()
            {
                ErrorCode::NotFound => LocalError::NotARepository { path: shown() },
                _ => LocalError::Open {
                    path: shown(),
                    source,
                },
            })?;
        // Whatever is written through this handle stays in memory: of all backends, the one with the highest priority gets it.
        let in_memory = |repo: &Repository| repo.odb()?.add_new_mempack_backend(1_000).map(drop);
        in_memory(&repo).map_err(|source| LocalError::Open {
            path: shown(),
            source,
        })?;
        Ok(Self { repo })
    }

    /// The same repository with the objects of another one to be read beside its own, for commits that take trees from there.
    ///
    /// # Errors
    /// When its object database can't be opened.
    pub fn with_objects_of(self, other: &Self) -> Result<Self, LocalError> {
        let objects = other.repo.commondir().join("objects");
        let lend = |repo: &Repository| repo.odb()?.add_disk_alternate(&objects.to_string_lossy());
        lend(&self.repo).map_err(|source| LocalError::Open {
            path: objects.display().to_string(),
            source,
        })?;
        Ok(self)
    }

    fn objects(&self) -> Result<Objects<'_>, ReadError> {
        Objects::complete(&self.repo)
    }

    /// The commit that a revision names, as git-rev-parse(1) reads it; a tag is followed to its commit.
    ///
    /// # Errors
    /// When it names none.
    pub fn resolve(&self, rev: &str) -> Result<CommitOid, LocalError> {
        let commit = self
            .repo
            .revparse_single(rev)
            .and_then(|object| object.peel_to_commit())
            .map_err(|source| LocalError::NoSuchRevision {
                rev: rev.chars().take(200).collect(),
                source,
            })?;
        Ok(commit_oid(commit.id())?)
    }

    /// The default branch, as far as that can be told here: what a bare repository's HEAD names, as that of a forge; in a work tree what the
    /// HEAD of `origin` names, or else `main` or `master` if there is one, or else what is checked out. None if nothing is.
    #[must_use]
    pub fn default_branch(&self) -> Option<BranchName> {
        let named = |reference: &str, place: &str| {
            let found = self.repo.find_reference(reference).ok()?;
            let target = found
                .symbolic_target()
                .ok()
                .flatten()?
                .strip_prefix(place)?
                .to_owned();
            BranchName::parse(target).ok()
        };
        let there = |name: &str| {
            let is = |place: &str| self.repo.find_reference(&format!("{place}/{name}")).is_ok();
            (is("refs/heads") || is("refs/remotes/origin"))
                .then(|| BranchName::parse(name).ok())
                .flatten()
        };
        let checked_out = || named("HEAD", "refs/heads/");
        if self.repo.is_bare() {
            return checked_out();
        }
        named("refs/remotes/origin/HEAD", "refs/remotes/origin/")
            .or_else(|| there("main"))
            .or_else(|| there("master"))
            .or_else(checked_out)
    }

    /// The best common ancestor of two commits.
    ///
    /// # Errors
    /// When they have none, or the history cannot be read.
    pub fn merge_base(&self, one: &CommitOid, other: &CommitOid) -> Result<CommitOid, LocalError> {
        match self.repo.merge_base(oid(one.as_str())?, oid(other.as_str())?) {
            Ok(base) => Ok(commit_oid(base)?),
            Err(error) if error.code() == ErrorCode::NotFound => Err(LocalError::Unrelated {
                one: one.clone(),
                other: other.clone(),
            }),
            Err(error) => Err(ReadError::damaged(|| "the history")(error).into()),
        }
    }

    /// The files that differ between the trees of two commits, sorted, each rename with its old and its new path; lossy where
    /// a name is not UTF-8.
    ///
    /// # Errors
    /// When a commit or tree cannot be read.
    pub fn changed(&self, base: &CommitOid, head: &CommitOid) -> Result<Vec<String>, ReadError> {
        Ok(changed_between(&self.objects()?, base, head)?
            .into_iter()
            .collect())
    }

    /// What stands at each of `paths` in `commit`. Every path asked for is a key of the answer.
    ///
    /// # Errors
    /// When an object cannot be read.
    pub fn entries(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Entry>, ReadError> {
        read::entries(&self.objects()?, commit, paths)
    }

    /// The content of the file at `path` in `commit`; `None` when it was read that there is nothing.
    ///
    /// # Errors
    /// When it is larger than `max_bytes`, no file, or cannot be read.
    pub fn blob(
        &self,
        commit: &CommitOid,
        path: &PathInRepo,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        read::blob(&self.objects()?, commit, path, max_bytes)
    }

    /// The files below each of `paths` in `commit`, as [`crate::Mirror::listings`].
    ///
    /// # Errors
    /// When one of them has more than 50,000 files, or an object cannot be read.
    pub fn listings(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Listing>, ReadError> {
        listing::listings(&self.objects()?, commit, paths)
    }

    /// The text of the files at `paths` in `commit`, as [`crate::Mirror::files`].
    ///
    /// # Errors
    /// When an object cannot be read. What is about one file is said of that file.
    pub fn files(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> Result<BTreeMap<PathInRepo, File>, ReadError> {
        listing::files(&self.objects()?, commit, paths, max_bytes)
    }

    /// Whether each of `edits`, by itself, would change anything at a commit, as [`crate::Mirror::would_change`].
    ///
    /// # Errors
    /// When an object cannot be read.
    pub fn would_change(&self, at: &CommitOid, edits: &[(PathInRepo, Edit)]) -> Result<Vec<bool>, ReadError> {
        surgery::would_change(&self.objects()?, at, edits)
    }

    /// The tree, parents and date of `commit`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn commit_info(&self, commit: &CommitOid) -> Result<CommitInfo, ReadError> {
        read::commit_info(&self.objects()?, commit)
    }

    /// Looks through the trees that would travel, as [`crate::Mirror::inspect`] does.
    ///
    /// # Errors
    /// When something in them must not travel, or they cannot be read.
    pub fn inspect(
        &self,
        commit: &CommitOid,
        sync: &[(PathInRepo, Option<TreeOid>)],
    ) -> Result<(), InspectError> {
        inspect::inspect(&self.objects()?, commit, sync)
    }

    /// The commit that `spec` would make. Its objects exist in memory only, as long as this handle.
    ///
    /// # Errors
    /// As [`crate::Mirror::commit`].
    pub fn preview(&self, spec: &CommitSpec) -> Result<Committed, CommitError> {
        let objects = self.objects()?;
        let (mut committed, _) = commit::commit(&objects, spec)?;
        if committed.changed {
            committed.paths = changed_between(&objects, &spec.parent, &committed.oid)?
                .into_iter()
                .collect();
        }
        Ok(committed)
    }
}
