//! Editing trees without a checkout, and the commit that carries the edit.
//!
//! Trees are written here byte by byte and not through libgit2's builder: the builder touches the time stamps of objects that are
//! there already, and [`crate::LocalRepository`] promises to write nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use git2::{ErrorCode, ObjectType, OdbLookupFlags, Oid, Signature, Time};
use lockflight_promotion::{CommitOid, ErrorClass, PathInRepo, TreeOid};

use crate::mirror::MirrorFailure;
use crate::objects::Objects;
use crate::read::{DIRECTORY, KIND, ReadError, commit_oid, oid, tree_oid};

/// A commit to make: a function of these fields and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitSpec {
    /// The commit that the edits start from; the one parent of the result.
    pub parent: CommitOid,
    /// What each path shall be afterwards: a directory with that tree, or gone. No path may lie within another.
    pub edits: Vec<(PathInRepo, Option<TreeOid>)>,
    /// The message, as it is to stand in the commit. A missing newline at its end is added.
    pub message: String,
    /// Author and committer.
    pub author: Identity,
    /// Author and committer date, in seconds since 1970 UTC; the zone is UTC.
    pub when: i64,
}

/// Who a commit is by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name. Not empty.
    pub name: String,
    /// The email address. Not empty.
    pub email: String,
}

/// A commit that was made, or found to be unnecessary.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Committed {
    /// The commit; the parent itself when nothing changed.
    pub oid: CommitOid,
    /// Its root tree.
    pub tree: TreeOid,
    /// Whether the tree differs from the parent's. When not, no commit was made.
    pub changed: bool,
    /// The files that differ from the parent, sorted; lossy where a name is not UTF-8. Only [`crate::LocalRepository::preview`] looks for them.
    pub paths: Vec<String>,
}

/// A commit that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The parent cannot be read.
    #[error("the commit that the edit starts from cannot be read")]
    Read(#[from] ReadError),
    /// A tree that is to stand somewhere is not on this machine.
    #[error(
        "tree {tree}, which {path} shall become, is not on this machine; its commit has to be fetched first"
    )]
    MissingTree {
        /// The tree.
        tree: TreeOid,
        /// Where it is to stand.
        path: PathInRepo,
    },
    /// A file, symlink or submodule stands where a directory is needed.
    #[error(
        "{at} is not a directory, so {path} cannot be put there; remove or rename it on the target branch"
    )]
    InTheWay {
        /// What was to be edited.
        path: PathInRepo,
        /// What is in the way: the path itself, or one above it.
        at: PathInRepo,
    },
    /// Two edits contradict each other, or one lies within the other.
    #[error("two edits of one commit overlap at {path}")]
    Overlap {
        /// The path.
        path: PathInRepo,
    },
    /// Name or email cannot stand in a commit.
    #[error(
        "the author of promotion commits needs a name and an email address without control characters, `<` and `>`"
    )]
    Identity,
    /// The object database did not take it.
    #[error("the objects of the commit could not be written; check that the disk is not full")]
    Write(#[source] git2::Error),
}

impl CommitError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Read(error) => error.class(),
            Self::MissingTree { .. } | Self::Write(_) => ErrorClass::Retry,
            Self::InTheWay { .. } | Self::Identity => ErrorClass::User,
            Self::Overlap { .. } => ErrorClass::Bug,
        }
    }
}

impl MirrorFailure for CommitError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_damage())
    }

    fn is_incomplete(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_incomplete())
    }
}

/// Writes the trees and the commit to the object database. Returns also what a push of the commit has to bring along: all objects that the edits
/// made, those included that were here already, since they may be of a commit that was never pushed.
pub(crate) fn commit(
    objects: &Objects<'_>,
    spec: &CommitSpec,
) -> Result<(Committed, BTreeSet<Oid>), CommitError> {
    let signature = signature(&spec.author, spec.when)?;
    let parent = objects.asked(&spec.parent)?;
    let edits = Node::of(&spec.edits)?;
    let surgery = Surgery {
        objects,
        made: RefCell::default(),
    };
    let tree = match surgery.apply(&PathInRepo::root(), Some(parent.tree), &edits)? {
        Some(tree) => tree,
        None => surgery.write(ObjectType::Tree, b"")?,
    };
    if tree == parent.tree {
        let committed = Committed {
            oid: spec.parent.clone(),
            tree: tree_oid(tree)?,
            changed: false,
            paths: Vec::new(),
        };
        return Ok((committed, BTreeSet::new()));
    }
    let content = content(tree, &spec.parent, &signature, &spec.message);
    let oid = surgery.write(ObjectType::Commit, &content)?;
    let committed = Committed {
        oid: commit_oid(oid)?,
        tree: tree_oid(tree)?,
        changed: true,
        paths: Vec::new(),
    };
    Ok((committed, surgery.made.into_inner()))
}

/// A commit as git stores it.
fn content(tree: Oid, parent: &CommitOid, signature: &Signature<'_>, message: &str) -> Vec<u8> {
    let mut content = format!("tree {tree}\nparent {parent}\n").into_bytes();
    for role in ["author", "committer"] {
        content.extend_from_slice(format!("{role} ").as_bytes());
        content.extend_from_slice(signature.name_bytes());
        content.extend_from_slice(b" <");
        content.extend_from_slice(signature.email_bytes());
        content.extend_from_slice(format!("> {} +0000\n", signature.when().seconds()).as_bytes());
    }
    content.push(b'\n');
    content.extend_from_slice(message.as_bytes());
    if !message.ends_with('\n') {
        content.push(b'\n');
    }
    content
}

fn signature(who: &Identity, when: i64) -> Result<Signature<'static>, CommitError> {
    // libgit2 would quietly drop what cannot stand there, and two specs would make one commit.
    let fits = |text: &str| {
        !text.trim().is_empty() && !text.chars().any(|c| c.is_control() || matches!(c, '<' | '>'))
    };
    if !fits(&who.name) || !fits(&who.email) {
        return Err(CommitError::Identity);
    }
    Signature::new(&who.name, &who.email, &Time::new(when, 0)).map_err(|_error| CommitError::Identity)
}

/// The edits as a tree of directory names.
#[derive(Debug)]
enum Node {
    /// The path becomes this, or goes.
    Set(Option<TreeOid>),
    /// Something below the path changes.
    Below(BTreeMap<String, Self>),
}

impl Node {
    fn of(edits: &[(PathInRepo, Option<TreeOid>)]) -> Result<Self, CommitError> {
        let mut root = Self::Below(BTreeMap::new());
        for (path, tree) in edits {
            let overlap = || CommitError::Overlap { path: path.clone() };
            let mut node = &mut root;
            let mut fresh = path.is_root() && edits.len() == 1;
            for name in path.components() {
                let Self::Below(children) = node else {
                    return Err(overlap());
                };
                fresh = !children.contains_key(name);
                node = children
                    .entry(name.to_owned())
                    .or_insert_with(|| Self::Below(BTreeMap::new()));
            }
            match node {
                // The same edit twice is no contradiction.
                Self::Set(known) if known == tree => {}
                Self::Below(_) if fresh => *node = Self::Set(tree.clone()),
                Self::Set(_) | Self::Below(_) => return Err(overlap()),
            }
        }
        Ok(root)
    }

    /// Whether anything at or below the node is to stand afterwards.
    fn sets_something(&self) -> bool {
        match self {
            Self::Set(tree) => tree.is_some(),
            Self::Below(children) => children.values().any(Self::sets_something),
        }
    }
}

/// One entry of a tree as git stores it.
struct Item {
    mode: i32,
    name: Vec<u8>,
    id: Oid,
}

impl Item {
    fn is_directory(&self) -> bool {
        self.mode & KIND == DIRECTORY
    }

    /// git sorts a directory as if its name ended with a slash.
    fn sort_key(&self) -> Vec<u8> {
        let mut key = self.name.clone();
        if self.is_directory() {
            key.push(b'/');
        }
        key
    }
}

struct Surgery<'r> {
    objects: &'r Objects<'r>,
    /// All objects that the edits make.
    made: RefCell<BTreeSet<Oid>>,
}

impl Surgery<'_> {
    /// The tree that `old` becomes at `at`; `None` when nothing is left, which git keeps no directory for.
    fn apply(&self, at: &PathInRepo, old: Option<Oid>, node: &Node) -> Result<Option<Oid>, CommitError> {
        match node {
            Node::Set(None) => Ok(None),
            Node::Set(Some(tree)) => self.existing(tree, at),
            Node::Below(children) if children.is_empty() => Ok(old),
            Node::Below(children) => {
                let before = self.items(old)?;
                let mut items: Vec<Item> = Vec::with_capacity(before.len() + children.len());
                let mut kept: BTreeMap<&str, Oid> = BTreeMap::new();
                for item in before {
                    match std::str::from_utf8(&item.name)
                        .ok()
                        .and_then(|name| children.get_key_value(name))
                    {
                        Some((name, _)) if item.is_directory() => {
                            kept.insert(name, item.id);
                        }
                        // Nothing is to stand here, and nothing below a file can be removed.
                        Some((_, child)) if matches!(child, Node::Below(_)) && !child.sets_something() => {
                            items.push(item);
                        }
                        Some((name, child)) => {
                            let way = join(at, name);
                            return Err(CommitError::InTheWay {
                                path: first_edit(&way, child),
                                at: way,
                            });
                        }
                        None => items.push(item),
                    }
                }
                let edited = Objects::each(children, |(name, child)| {
                    let old = kept.get(name.as_str()).copied();
                    if old.is_none() && !child.sets_something() {
                        return Ok(None);
                    }
                    let id = self.apply(&join(at, name), old, child)?;
                    Ok::<_, CommitError>(id.map(|id| Item {
                        mode: DIRECTORY,
                        name: name.clone().into_bytes(),
                        id,
                    }))
                })?;
                items.extend(edited.into_iter().flatten());
                if items.is_empty() {
                    return Ok(None);
                }
                items.sort_by_cached_key(Item::sort_key);
                let mut content = Vec::with_capacity(items.len() * 40);
                for item in &items {
                    content.extend_from_slice(format!("{:o} ", item.mode).as_bytes());
                    content.extend_from_slice(&item.name);
                    content.push(0);
                    content.extend_from_slice(item.id.as_bytes());
                }
                self.write(ObjectType::Tree, &content).map(Some)
            }
        }
    }

    /// The tree that an edit names, which has to be here; none if it is empty.
    fn existing(&self, tree: &TreeOid, path: &PathInRepo) -> Result<Option<Oid>, CommitError> {
        let id = oid(tree.as_str())?;
        self.objects.need(id)?;
        match self.objects.repo.find_tree(id) {
            Ok(found) => Ok((!found.is_empty()).then_some(id)),
            Err(error) if error.code() == ErrorCode::NotFound => Err(CommitError::MissingTree {
                tree: tree.clone(),
                path: path.clone(),
            }),
            Err(source) => Err(ReadError::Damaged {
                what: format!("tree {tree}"),
                source,
            }
            .into()),
        }
    }

    fn items(&self, tree: Option<Oid>) -> Result<Vec<Item>, CommitError> {
        let Some(tree) = tree else {
            return Ok(Vec::new());
        };
        let tree = self.objects.tree(tree)?;
        Ok(tree
            .iter()
            .map(|entry| Item {
                mode: entry.filemode_raw(),
                name: entry.name_bytes().to_vec(),
                id: entry.id(),
            })
            .collect())
    }

    fn write(&self, kind: ObjectType, content: &[u8]) -> Result<Oid, CommitError> {
        let id = Oid::hash_object(kind, content).map_err(CommitError::Write)?;
        // Without a refresh: a new object is the rule, and a miss would read the pack directory again each time.
        let odb = &self.objects.odb;
        if !odb.exists_ext(id, OdbLookupFlags::NO_REFRESH) {
            odb.write(kind, content).map_err(CommitError::Write)?;
        }
        self.made.borrow_mut().insert(id);
        Ok(id)
    }
}

/// `name` below `at`. Both come from a checked path, so their join is one as well.
fn join(at: &PathInRepo, name: &str) -> PathInRepo {
    PathInRepo::parse(name).map_or_else(|_error| at.clone(), |name| at.join(&name))
}

/// The first path at or below `at` that an edit names, for the error message.
fn first_edit(at: &PathInRepo, node: &Node) -> PathInRepo {
    match node {
        Node::Below(children) => children
            .iter()
            .find(|(_, child)| child.sets_something())
            .map_or_else(|| at.clone(), |(name, child)| first_edit(&join(at, name), child)),
        Node::Set(_) => at.clone(),
    }
}
