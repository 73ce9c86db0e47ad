//! Reading at a pinned commit. What is absent was looked for and not found; what could not be read is an error.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Tree, TreeEntry};
use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, ErrorClass, PathInRepo, TreeOid};

use crate::history;
use crate::mirror::MirrorFailure;
use crate::objects::Objects;
use crate::transport_error::TransportError;

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

/// Files of one commit by their paths: the content, nothing when there is proven to be none, or why it is no file that can be read.
pub type Blobs = BTreeMap<PathInRepo, Result<Option<Vec<u8>>, ReadError>>;

/// Commits of one line, the newest first, each with what stands at some paths.
pub type Line = Vec<(CommitOid, BTreeMap<PathInRepo, Entry>)>;

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
    /// Objects that a partial mirror was made without are needed, and bringing them went on for too long.
    #[error(
        "more of the repository is needed than was brought in one go: its directories lie in each other too deep, or its history is too long"
    )]
    Incomplete,
    /// Objects that a partial mirror was made without are needed, and could not be brought.
    #[error("objects that were left out of the mirror could not be brought")]
    Bring(#[source] Box<TransportError>),
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
    /// A directory has more files than are listed, or too many directories in it.
    #[error(
        "{path} has more than {most} files or directories, or directories that lie in each other too deep; no files can be selected of so many, so split it"
    )]
    TooManyListed {
        /// The directory.
        path: PathInRepo,
        /// The limit.
        most: usize,
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
            Self::Open(_) | Self::NotFetched(_) | Self::Damaged { .. } | Self::Incomplete => {
                ErrorClass::Retry
            }
            Self::Bring(error) => error.class(),
            Self::ObjectFormat(_)
            | Self::TooManyFiles { .. }
            | Self::TooManyListed { .. }
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

    fn is_incomplete(&self) -> bool {
        matches!(self, Self::Incomplete)
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

pub(crate) fn commit_info(objects: &Objects<'_>, commit: &CommitOid) -> Result<CommitInfo, ReadError> {
    let commit = objects.asked(commit)?;
    Ok(CommitInfo {
        tree: tree_oid(commit.tree)?,
        parents: commit
            .parents
            .into_iter()
            .map(commit_oid)
            .collect::<Result<_, _>>()?,
        committed_at: commit.when,
    })
}

pub(crate) fn is_descendant(
    objects: &Objects<'_>,
    commit: &CommitOid,
    of: &CommitOid,
) -> Result<bool, ReadError> {
    objects.asked(commit)?;
    objects.asked(of)?;
    history::is_descendant(objects, oid(commit.as_str())?, oid(of.as_str())?)
}

/// An entry of a tree: its raw mode and what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) mode: i32,
    pub(crate) id: Oid,
}

impl Found {
    pub(crate) fn of(entry: &TreeEntry<'_>) -> Self {
        Self {
            mode: entry.filemode_raw(),
            id: entry.id(),
        }
    }

    pub(crate) const fn directory(id: Oid) -> Self {
        Self { mode: DIRECTORY, id }
    }

    pub(crate) const fn is_directory(&self) -> bool {
        self.mode & KIND == DIRECTORY
    }
}

/// Looks up paths of one commit. The trees on the way are read once, since many paths share their parents.
pub(crate) struct Lookup<'r> {
    objects: &'r Objects<'r>,
    root: Oid,
    /// Directories that were read, by path; `None` where no directory stands.
    directories: BTreeMap<String, Option<Tree<'r>>>,
}

impl<'r> Lookup<'r> {
    pub(crate) fn new(objects: &'r Objects<'r>, commit: &CommitOid) -> Result<Self, ReadError> {
        Self::of(objects, objects.asked(commit)?.tree)
    }

    fn of(objects: &'r Objects<'r>, root: Oid) -> Result<Self, ReadError> {
        let tree = objects.tree(root)?;
        Ok(Self {
            objects,
            root,
            directories: BTreeMap::from([(String::new(), Some(tree))]),
        })
    }

    /// What stands at a path.
    pub(crate) fn find(&mut self, path: &PathInRepo) -> Result<Option<Found>, ReadError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Some(Found::directory(self.root)));
        };
        if !self.directories.contains_key(parent.as_str()) {
            let tree = match self.find(&parent)? {
                Some(found) if found.mode & KIND == DIRECTORY => Some(self.objects.tree(found.id)?),
                _ => None,
            };
            self.directories.insert(parent.as_str().to_owned(), tree);
        }
        let tree = self.directories.get(parent.as_str()).and_then(Option::as_ref);
        Ok(tree
            .and_then(|tree| tree.get_name_bytes(name.as_bytes()))
            .map(|entry| Found::of(&entry)))
    }

    /// Whether the nearest thing that stands above `path` is no directory.
    pub(crate) fn is_below_a_file(&mut self, path: &PathInRepo) -> Result<bool, ReadError> {
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
                // A tree whose id is known but that is not there would break the step later, in the push. One that was left out of a
                // partial mirror is at the remote, since its commit is.
                if !self.objects.is_partial() {
                    self.objects.tree(found.id)?;
                }
                Ok(Entry::Tree(tree_oid(found.id)?))
            }
            Some(_) => Ok(Entry::NotADirectory),
        }
    }

    fn entries(&mut self, paths: &[PathInRepo]) -> Result<BTreeMap<PathInRepo, Entry>, ReadError> {
        let found = Objects::each(paths, |path| {
            Ok::<_, ReadError>((path.clone(), self.entry(path)?))
        })?;
        Ok(found.into_iter().collect())
    }

    fn blob(&mut self, path: &PathInRepo, max_bytes: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(found) = self.find(path)? else {
            return Ok(None);
        };
        let path = path.clone();
        match found.mode & KIND {
            REGULAR => small_blob(self.objects, found.id, &path, max_bytes).map(Some),
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
}

pub(crate) fn entries(
    objects: &Objects<'_>,
    commit: &CommitOid,
    paths: &[PathInRepo],
) -> Result<BTreeMap<PathInRepo, Entry>, ReadError> {
    Lookup::new(objects, commit)?.entries(paths)
}

/// Notes what is missing of the trees at `paths`, down to the last one below them.
pub(crate) fn whole(
    objects: &Objects<'_>,
    commit: &CommitOid,
    paths: &[PathInRepo],
) -> Result<(), ReadError> {
    let mut lookup = Lookup::new(objects, commit)?;
    Objects::each(paths, |path| match lookup.find(path)? {
        Some(found) if found.mode & KIND == DIRECTORY => objects.need_whole(found.id),
        _ => Ok(()),
    })
    .map(drop)
}

/// What stood at `paths` in `from` and in the commits before it by first parents, for as long as they come after `until`: at most `most` of them.
pub(crate) fn entries_back(
    objects: &Objects<'_>,
    from: &CommitOid,
    until: &CommitOid,
    most: usize,
    paths: &[PathInRepo],
) -> Result<Line, ReadError> {
    objects.asked(from)?;
    objects.asked(until)?;
    let line = history::line(objects, oid(from.as_str())?, oid(until.as_str())?, most)?;
    Objects::each(line, |(id, commit)| {
        let entries = Lookup::of(objects, commit.tree)?.entries(paths)?;
        Ok((commit_oid(id)?, entries))
    })
}

pub(crate) fn entry(
    objects: &Objects<'_>,
    commit: &CommitOid,
    path: &PathInRepo,
) -> Result<Entry, ReadError> {
    Lookup::new(objects, commit)?.entry(path)
}

pub(crate) fn blob(
    objects: &Objects<'_>,
    commit: &CommitOid,
    path: &PathInRepo,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    Lookup::new(objects, commit)?.blob(path, max_bytes)
}

/// As [`blob`], for many paths. What is about one file is said of that file.
pub(crate) fn blobs(
    objects: &Objects<'_>,
    commit: &CommitOid,
    paths: &[PathInRepo],
    max_bytes: u64,
) -> Result<Blobs, ReadError> {
    let mut lookup = Lookup::new(objects, commit)?;
    let read = Objects::each(paths, |path| match lookup.blob(path, max_bytes) {
        Err(error) if !error.is_about_the_file() => Err(error),
        read => Ok((path.clone(), read)),
    })?;
    Ok(read.into_iter().collect())
}

/// Reads a blob whose size was looked at first.
pub(crate) fn small_blob(
    objects: &Objects<'_>,
    id: Oid,
    path: &PathInRepo,
    max_bytes: u64,
) -> Result<Vec<u8>, ReadError> {
    let what = || format!("blob {id} of {path}");
    objects.need(id)?;
    let odb = &objects.odb;
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
