//! Reading at a pinned commit. What is absent was looked for and not found; what could not be read is an error.

use std::collections::BTreeMap;

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};
use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, ErrorClass, PathInRepo, TreeOid};

use crate::mirror::MirrorFailure;

/// The part of a file mode that tells its kind, and the kinds that git has.
pub(crate) const KIND: i32 = 0o170_000;
pub(crate) const DIRECTORY: i32 = 0o040_000;
pub(crate) const REGULAR: i32 = 0o100_000;
pub(crate) const SYMLINK: i32 = 0o120_000;
pub(crate) const SUBMODULE: i32 = 0o160_000;

/// What a commit says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its root tree.
    pub tree: TreeOid,
    /// Its parents, the first one first.
    pub parents: Vec<CommitOid>,
    /// Its committer date, in seconds since 1970 UTC.
    pub committed_at: i64,
}

/// A read that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The repository on this machine cannot be opened; for a mirror: nothing was fetched yet.
    #[error("the repository on this machine cannot be opened")]
    Open(#[source] git2::Error),
    /// The commit is not on this machine.
    #[error("commit {0} is not on this machine; it has to be fetched first")]
    NotFetched(CommitOid),
    /// An object that must be there is not, or cannot be read.
    #[error("the repository on this machine is damaged or incomplete: {what}")]
    Damaged {
        /// What was being read.
        what: String,
        /// What libgit2 said.
        #[source]
        source: git2::Error,
    },
    /// A 64-digit id.
    #[error("object id {0} is a SHA-256 one; only SHA-1 repositories are supported")]
    ObjectFormat(String),
    /// More files differ than are looked at, or directories lie in each other too deep.
    #[error(
        "more than {most} files differ, or directories lie in each other too deep; promote it in smaller pull requests"
    )]
    TooManyFiles {
        /// The limit.
        most: u64,
    },
    /// The file is larger than the caller takes.
    #[error("{path} has {size} bytes; at most {max} are accepted")]
    TooBig {
        /// The file.
        path: PathInRepo,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A symlink stands where a file was expected. It is not followed.
    #[error("{path} is a symlink, which is not followed; put a file there")]
    Symlink {
        /// The path.
        path: PathInRepo,
    },
    /// A directory or a submodule stands where a file was expected.
    #[error("{path} is {kind}, where a file was expected")]
    NotAFile {
        /// The path.
        path: PathInRepo,
        /// What stands there.
        kind: &'static str,
    },
}

impl ReadError {
    /// Whether it is about what stands at the path, and not about git: reading again gives the same.
    #[must_use]
    pub const fn is_about_the_file(&self) -> bool {
        matches!(
            self,
            Self::TooBig { .. } | Self::Symlink { .. } | Self::NotAFile { .. }
        )
    }

    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Open(_) | Self::NotFetched(_) | Self::Damaged { .. } => ErrorClass::Retry,
            Self::ObjectFormat(_)
            | Self::TooManyFiles { .. }
            | Self::TooBig { .. }
            | Self::Symlink { .. }
            | Self::NotAFile { .. } => ErrorClass::User,
        }
    }

    /// For `map_err` on a read of something that has to be there.
    pub(crate) fn damaged<W: Into<String>>(what: impl FnOnce() -> W) -> impl FnOnce(git2::Error) -> Self {
        move |source| Self::Damaged {
            what: what().into(),
            source,
        }
    }
}

impl MirrorFailure for ReadError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// The id in libgit2's form.
pub(crate) fn oid(id: &str) -> Result<Oid, ReadError> {
    Oid::from_str(id).map_err(|_error| ReadError::ObjectFormat(id.to_owned()))
}

/// The id in the domain's form.
pub(crate) fn commit_oid(id: Oid) -> Result<CommitOid, ReadError> {
    CommitOid::parse(id.to_string()).map_err(|error| ReadError::ObjectFormat(error.value))
}

/// The id in the domain's form.
pub(crate) fn tree_oid(id: Oid) -> Result<TreeOid, ReadError> {
    TreeOid::parse(id.to_string()).map_err(|error| ReadError::ObjectFormat(error.value))
}

pub(crate) fn find_commit<'r>(
    repo: &'r Repository,
    commit: &CommitOid,
) -> Result<git2::Commit<'r>, ReadError> {
    repo.find_commit(oid(commit.as_str())?)
        .map_err(|source| match source.code() {
            ErrorCode::NotFound => ReadError::NotFetched(commit.clone()),
            _ => ReadError::Damaged {
                what: format!("commit {commit}"),
                source,
            },
        })
}

pub(crate) fn find_tree(repo: &Repository, tree: Oid) -> Result<Tree<'_>, ReadError> {
    repo.find_tree(tree)
        .map_err(ReadError::damaged(|| format!("tree {tree}")))
}

pub(crate) fn root_tree<'r>(repo: &'r Repository, commit: &CommitOid) -> Result<Tree<'r>, ReadError> {
    find_tree(repo, find_commit(repo, commit)?.tree_id())
}

pub(crate) fn commit_info(repo: &Repository, commit: &CommitOid) -> Result<CommitInfo, ReadError> {
    let commit = find_commit(repo, commit)?;
    Ok(CommitInfo {
        tree: tree_oid(commit.tree_id())?,
        parents: commit.parent_ids().map(commit_oid).collect::<Result<_, _>>()?,
        committed_at: commit.committer().when().seconds(),
    })
}

pub(crate) fn is_descendant(
    repo: &Repository,
    commit: &CommitOid,
    of: &CommitOid,
) -> Result<bool, ReadError> {
    let (commit, of) = (find_commit(repo, commit)?.id(), find_commit(repo, of)?.id());
    if commit == of {
        return Ok(true);
    }
    repo.graph_descendant_of(commit, of)
        .map_err(ReadError::damaged(|| "the history"))
}

/// An entry of a tree: its raw mode and what it points to.
#[derive(Clone, Copy, Debug)]
struct Found {
    mode: i32,
    id: Oid,
}

/// Looks up paths of one commit. The trees on the way are read once, since many paths share their parents.
struct Lookup<'r> {
    repo: &'r Repository,
    root: Oid,
    /// Directories that were read, by path; `None` where no directory stands.
    directories: BTreeMap<String, Option<Tree<'r>>>,
}

impl<'r> Lookup<'r> {
    fn new(repo: &'r Repository, commit: &CommitOid) -> Result<Self, ReadError> {
        let root = root_tree(repo, commit)?;
        Ok(Self {
            repo,
            root: root.id(),
            directories: BTreeMap::from([(String::new(), Some(root))]),
        })
    }

    fn find(&mut self, path: &PathInRepo) -> Result<Option<Found>, ReadError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Some(Found {
                mode: DIRECTORY,
                id: self.root,
            }));
        };
        if !self.directories.contains_key(parent.as_str()) {
            let tree = match self.find(&parent)? {
                Some(found) if found.mode & KIND == DIRECTORY => Some(find_tree(self.repo, found.id)?),
                _ => None,
            };
            self.directories.insert(parent.as_str().to_owned(), tree);
        }
        let tree = self.directories.get(parent.as_str()).and_then(Option::as_ref);
        Ok(tree
            .and_then(|tree| tree.get_name_bytes(name.as_bytes()))
            .map(|entry| Found {
                mode: entry.filemode_raw(),
                id: entry.id(),
            }))
    }

    /// Whether the nearest thing that stands above `path` is no directory.
    fn is_below_a_file(&mut self, path: &PathInRepo) -> Result<bool, ReadError> {
        let mut above = path.parent();
        while let Some(parent) = above {
            if let Some(found) = self.find(&parent)? {
                return Ok(found.mode & KIND != DIRECTORY);
            }
            above = parent.parent();
        }
        Ok(false)
    }

    fn entry(&mut self, path: &PathInRepo) -> Result<Entry, ReadError> {
        match self.find(path)? {
            // Below a file nothing is absent in the sense that a directory could simply be put there, or was taken away.
            None if self.is_below_a_file(path)? => Ok(Entry::NotADirectory),
            None => Ok(Entry::Absent),
            Some(found) if found.mode & KIND == DIRECTORY => {
                // A tree whose id is known but that is not there would break the step later, in the push.
                find_tree(self.repo, found.id)?;
                Ok(Entry::Tree(tree_oid(found.id)?))
            }
            Some(_) => Ok(Entry::NotADirectory),
        }
    }
}

pub(crate) fn entries(
    repo: &Repository,
    commit: &CommitOid,
    paths: &[PathInRepo],
) -> Result<BTreeMap<PathInRepo, Entry>, ReadError> {
    let mut lookup = Lookup::new(repo, commit)?;
    paths
        .iter()
        .map(|path| Ok((path.clone(), lookup.entry(path)?)))
        .collect()
}

pub(crate) fn entry(repo: &Repository, commit: &CommitOid, path: &PathInRepo) -> Result<Entry, ReadError> {
    Lookup::new(repo, commit)?.entry(path)
}

pub(crate) fn blob(
    repo: &Repository,
    commit: &CommitOid,
    path: &PathInRepo,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(found) = Lookup::new(repo, commit)?.find(path)? else {
        return Ok(None);
    };
    let path = path.clone();
    match found.mode & KIND {
        REGULAR => small_blob(repo, found.id, &path, max_bytes).map(Some),
        SYMLINK => Err(ReadError::Symlink { path }),
        DIRECTORY => Err(ReadError::NotAFile {
            path,
            kind: "a directory",
        }),
        _ => Err(ReadError::NotAFile {
            path,
            kind: "a submodule",
        }),
    }
}

/// Reads a blob whose size was looked at first.
pub(crate) fn small_blob(
    repo: &Repository,
    id: Oid,
    path: &PathInRepo,
    max_bytes: u64,
) -> Result<Vec<u8>, ReadError> {
    let what = || format!("blob {id} of {path}");
    let odb = repo.odb().map_err(ReadError::damaged(what))?;
    let (size, kind) = odb.read_header(id).map_err(ReadError::damaged(what))?;
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if size > max_bytes {
        return Err(ReadError::TooBig {
            path: path.clone(),
            size,
            max: max_bytes,
        });
    }
    if kind != ObjectType::Blob {
        return Err(ReadError::Damaged {
            what: what(),
            source: git2::Error::from_str("it is not a blob"),
        });
    }
    let object = odb.read(id).map_err(ReadError::damaged(what))?;
    Ok(object.data().to_vec())
}
