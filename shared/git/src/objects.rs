//! The objects of a repository, and what is noticed to be missing.
//!
//! A partial mirror was made without most trees, blobs and old commits. Whoever needs one of those notes it here and fails with
//! [`ReadError::Incomplete`]; the mirror then brings all that were noted, in one request, and has the work done again. So work that needs many
//! objects has to look at all of them before it fails ([`Objects::each`]): that makes one request for each level of directories,
//! however many there are.

use std::cell::RefCell;
use std::collections::BTreeSet;

use git2::{ErrorCode, ObjectType, Odb, OdbLookupFlags, Oid, Repository, Tree};
use lockflight_promotion::CommitOid;

use crate::mirror::MirrorFailure;
use crate::read::{ReadError, oid};

/// Objects that are needed and not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Trees and blobs, each by itself.
    pub(crate) objects: BTreeSet<Oid>,
    /// Trees with all trees below them.
    pub(crate) whole: BTreeSet<Oid>,
    /// Commits, with some history.
    pub(crate) commits: BTreeSet<Oid>,
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.whole.is_empty() && self.commits.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len() + self.whole.len() + self.commits.len()
    }

    /// Forgets those that are here by now.
    pub(crate) fn retain(&mut self, is_missing: impl Fn(Oid) -> bool) {
        for kind in [&mut self.objects, &mut self.whole, &mut self.commits] {
            kind.retain(|id| is_missing(*id));
        }
    }
}

/// A repository that is being read.
pub(crate) struct Objects<'r> {
    pub(crate) repo: &'r Repository,
    pub(crate) odb: Odb<'r>,
    /// Whether what is missing was left out on purpose.
    is_partial: bool,
    missing: RefCell<Missing>,
}

/// What a commit says, as it was written. libgit2 leaves out the parents of a commit that a shallow repository ends with.
#[derive(Clone, Debug)]
pub(crate) struct RawCommit {
    pub(crate) tree: Oid,
    pub(crate) parents: Vec<Oid>,
    /// The committer date, in seconds since 1970 UTC.
    pub(crate) when: i64,
}

impl<'r> Objects<'r> {
    /// The objects of a repository that has all that it refers to.
    pub(crate) fn complete(repo: &'r Repository) -> Result<Self, ReadError> {
        Self::new(repo, false)
    }

    pub(crate) fn new(repo: &'r Repository, is_partial: bool) -> Result<Self, ReadError> {
        Ok(Self {
            repo,
            odb: repo.odb().map_err(ReadError::damaged(|| "the object database"))?,
            is_partial,
            missing: RefCell::default(),
        })
    }

    pub(crate) const fn is_partial(&self) -> bool {
        self.is_partial
    }

    pub(crate) fn into_missing(self) -> Missing {
        self.missing.into_inner()
    }

    /// Whether an object is here. In a partial mirror without a look at the pack directory, which is read when something was fetched.
    pub(crate) fn has(&self, id: Oid) -> bool {
        if self.is_partial {
            self.odb.exists_ext(id, OdbLookupFlags::NO_REFRESH)
        } else {
            self.odb.exists(id)
        }
    }

    /// Notes an object that is missing. Fails if it is, and may be.
    pub(crate) fn need(&self, id: Oid) -> Result<(), ReadError> {
        self.need_in(id, |missing| &mut missing.objects)
    }

    /// As [`Self::need`], for a tree of which all that is below it will be needed, too.
    pub(crate) fn need_whole(&self, tree: Oid) -> Result<(), ReadError> {
        self.need_in(tree, |missing| &mut missing.whole)
    }

    fn need_in(
        &self,
        id: Oid,
        kind: impl FnOnce(&mut Missing) -> &mut BTreeSet<Oid>,
    ) -> Result<(), ReadError> {
        if !self.is_partial || self.has(id) {
            return Ok(());
        }
        kind(&mut self.missing.borrow_mut()).insert(id);
        Err(ReadError::Incomplete)
    }

    /// Notes that the history before some commit is missing.
    pub(crate) fn need_history(&self, commits: impl IntoIterator<Item = Oid>) -> ReadError {
        self.missing.borrow_mut().commits.extend(commits);
        ReadError::Incomplete
    }

    /// Does something for each of `items`, also after it was incomplete for one of them.
    pub(crate) fn each<I, T, E: MirrorFailure>(
        items: impl IntoIterator<Item = I>,
        mut work: impl FnMut(I) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut done = Vec::new();
        let mut incomplete = None;
        for item in items {
            match work(item) {
                Ok(result) => done.push(result),
                Err(error) if error.is_incomplete() => incomplete = Some(error),
                Err(error) => return Err(error),
            }
        }
        incomplete.map_or(Ok(done), Err)
    }

    pub(crate) fn tree(&self, tree: Oid) -> Result<Tree<'r>, ReadError> {
        self.need(tree)?;
        self.repo
            .find_tree(tree)
            .map_err(ReadError::damaged(|| format!("tree {tree}")))
    }

    /// As [`Self::tree`], where all trees below it are needed, too.
    pub(crate) fn whole_tree(&self, tree: Oid) -> Result<Tree<'r>, ReadError> {
        self.need_whole(tree)?;
        self.tree(tree)
    }

    /// The commit that was asked for. It is never brought by a read, since a read doesn't know which branch it is on.
    pub(crate) fn asked(&self, commit: &CommitOid) -> Result<RawCommit, ReadError> {
        self.find_commit(oid(commit.as_str())?)?
            .ok_or_else(|| ReadError::NotFetched(commit.clone()))
    }

    /// A commit that another one names as its parent.
    pub(crate) fn parent(&self, id: Oid) -> Result<RawCommit, ReadError> {
        match self.find_commit(id)? {
            Some(commit) => Ok(commit),
            None if self.is_partial => Err(self.need_history([id])),
            None => Err(ReadError::Damaged {
                what: format!("commit {id}"),
                source: git2::Error::from_str("it is not there"),
            }),
        }
    }

    /// A commit; none if it is not here.
    pub(crate) fn find_commit(&self, id: Oid) -> Result<Option<RawCommit>, ReadError> {
        let damaged = |source| ReadError::Damaged {
            what: format!("commit {id}"),
            source,
        };
        if self.is_partial && !self.has(id) {
            return Ok(None);
        }
        match self.odb.read(id) {
            Ok(object) if object.kind() == ObjectType::Commit => RawCommit::parse(object.data())
                .map(Some)
                .ok_or_else(|| damaged(git2::Error::from_str("it is malformed"))),
            Ok(_) => Err(damaged(git2::Error::from_str("it is not a commit"))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(damaged(error)),
        }
    }

    pub(crate) fn root_tree(&self, commit: &CommitOid) -> Result<Tree<'r>, ReadError> {
        self.tree(self.asked(commit)?.tree)
    }
}

impl RawCommit {
    fn parse(content: &[u8]) -> Option<Self> {
        let id = |hex: &[u8]| Oid::from_str(std::str::from_utf8(hex).ok()?).ok();
        let mut tree = None;
        let mut parents = Vec::new();
        let mut when = 0;
        for line in content.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                break;
            }
            if let Some(hex) = line.strip_prefix(b"tree ") {
                tree = tree.or(Some(id(hex)?));
            } else if let Some(hex) = line.strip_prefix(b"parent ") {
                parents.push(id(hex)?);
            } else if let Some(committer) = line.strip_prefix(b"committer ") {
                when = date(committer).unwrap_or(0);
                break;
            }
        }
        Some(Self {
            tree: tree?,
            parents,
            when,
        })
    }
}

/// The date behind a name and an address, which both may hold anything.
fn date(committer: &[u8]) -> Option<i64> {
    let after = committer.iter().rposition(|byte| *byte == b'>')? + 1;
    let text = std::str::from_utf8(committer.get(after..)?).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_read_as_it_was_written() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let text = format!(
            "tree {one}\nparent {two}\nparent {one}\nauthor A <a> 1 +0000\ncommitter B > <b> 1700000000 +0200\n\ntree {two}\n"
        );
        let commit = RawCommit::parse(text.as_bytes()).unwrap();
        assert_eq!(commit.tree.to_string(), one);
        assert_eq!(commit.parents.len(), 2);
        assert_eq!(commit.when, 1_700_000_000);
        assert!(RawCommit::parse(b"parent x\n\n").is_none());
    }
}
