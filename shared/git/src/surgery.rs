//! Editing trees without a checkout.
//!
//! Trees are written here byte by byte and not through libgit2's builder: the builder touches the time stamps of objects that are
//! there already, and [`crate::LocalRepository`] promises to write nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use git2::{ErrorCode, ObjectType, OdbLookupFlags, Oid};
use lockflight_promotion::plan::{Edit, Keys};
use lockflight_promotion::values::{self, Format};
use lockflight_promotion::{CommitOid, ErrorClass, PathInRepo, TreeOid};

use crate::commit::CommitError;
use crate::objects::Objects;
use crate::read::{DIRECTORY, Found, KIND, Lookup, REGULAR, ReadError, SYMLINK, oid, small_blob};
use crate::select::Merge;

/// The tree without entries. git keeps no directory for it.
pub(crate) const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// The largest file whose keys are read, in bytes.
const LARGEST_WITH_KEYS: u64 = 1 << 20;

/// The edits as a tree of directory names.
#[derive(Debug)]
pub(crate) enum Node<'e> {
    /// This becomes of the path.
    Set(&'e Edit),
    /// Something below the path changes.
    Below(BTreeMap<String, Self>),
}

impl<'e> Node<'e> {
    pub(crate) fn of(edits: &'e [(PathInRepo, Edit)]) -> Result<Self, CommitError> {
        let mut root = Self::Below(BTreeMap::new());
        for (path, edit) in edits {
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
                Self::Set(known) if *known == edit => {}
                Self::Below(_) if fresh => *node = Self::Set(edit),
                Self::Set(_) | Self::Below(_) => return Err(overlap()),
            }
        }
        Ok(root)
    }

    /// Whether anything at or below the node is to stand afterwards.
    fn sets_something(&self) -> bool {
        match self {
            Self::Set(Edit::Whole(tree) | Edit::Selected(tree, _)) => tree.is_some(),
            Self::Set(Edit::Keys(_)) => true,
            Self::Below(children) => children.values().any(Self::sets_something),
        }
    }
}

/// One entry of a tree as git stores it.
pub(crate) struct Item {
    pub(crate) name: Vec<u8>,
    pub(crate) found: Found,
}

impl Item {
    /// git sorts a directory as if its name ended with a slash.
    fn sort_key(&self) -> Vec<u8> {
        let mut key = self.name.clone();
        if self.found.is_directory() {
            key.push(b'/');
        }
        key
    }
}

/// Edits of the trees of one commit.
pub(crate) struct Surgery<'r> {
    pub(crate) objects: &'r Objects<'r>,
    /// Whether what is made is kept, or only named.
    keeps: bool,
    /// All objects that the edits make.
    made: RefCell<BTreeSet<Oid>>,
}

impl<'r> Surgery<'r> {
    pub(crate) fn new(objects: &'r Objects<'r>) -> Self {
        Self {
            objects,
            keeps: true,
            made: RefCell::default(),
        }
    }

    /// All objects that the edits made.
    pub(crate) fn into_made(self) -> BTreeSet<Oid> {
        self.made.into_inner()
    }

    /// What `old` becomes at `at`; `None` when nothing is left, which git keeps no directory for.
    pub(crate) fn apply(
        &self,
        at: &PathInRepo,
        old: Option<Found>,
        node: &Node<'_>,
    ) -> Result<Option<Found>, CommitError> {
        match node {
            Node::Set(edit) => self.edit(at, old, edit),
            Node::Below(children) if children.is_empty() => Ok(old),
            Node::Below(children) => self.below(at, old, children),
        }
    }

    fn below(
        &self,
        at: &PathInRepo,
        old: Option<Found>,
        children: &BTreeMap<String, Node<'_>>,
    ) -> Result<Option<Found>, CommitError> {
        let before = self.items(old)?;
        let mut items: Vec<Item> = Vec::with_capacity(before.len() + children.len());
        let mut standing: BTreeMap<&str, Found> = BTreeMap::new();
        for item in before {
            let name = std::str::from_utf8(&item.name).ok();
            match name.and_then(|name| children.get_key_value(name)) {
                None => items.push(item),
                Some((_, child @ Node::Below(_)))
                    if !item.found.is_directory() && !child.sets_something() =>
                {
                    // Nothing is to stand here, and nothing below a file can be removed.
                    items.push(item);
                }
                Some((name, child @ Node::Below(_))) if !item.found.is_directory() => {
                    let way = join(at, name);
                    return Err(CommitError::InTheWay {
                        path: first_edit(&way, child),
                        at: way,
                    });
                }
                Some((name, _)) => {
                    standing.insert(name, item.found);
                }
            }
        }
        let edited = Objects::each(children, |(name, child)| {
            let old = standing.get(name.as_str()).copied();
            if old.is_none() && !child.sets_something() {
                return Ok(None);
            }
            let found = self.apply(&join(at, name), old, child)?;
            Ok::<_, CommitError>(found.map(|found| Item {
                name: name.clone().into_bytes(),
                found,
            }))
        })?;
        items.extend(edited.into_iter().flatten());
        let tree = self.tree_of(items, &[])?;
        Ok(tree.map(Found::directory))
    }

    /// What an edit makes of what stands at its path.
    fn edit(&self, at: &PathInRepo, old: Option<Found>, edit: &Edit) -> Result<Option<Found>, CommitError> {
        if let Edit::Keys(keys) = edit {
            return self.keys(at, old, keys).map(Some);
        }
        if old.is_some_and(|old| !old.is_directory()) {
            return Err(CommitError::InTheWay {
                path: at.clone(),
                at: at.clone(),
            });
        }
        let tree = match edit {
            Edit::Whole(None) | Edit::Keys(_) => None,
            Edit::Whole(Some(tree)) => self.existing(tree, at)?,
            Edit::Selected(tree, selection) => {
                let new = match tree {
                    Some(tree) => {
                        self.objects.need_whole(oid(tree.as_str())?)?;
                        self.existing(tree, at)?
                    }
                    None => None,
                };
                Merge::new(self, at, selection)?.run(old.map(|old| old.id), new)?
            }
        };
        Ok(tree.map(Found::directory))
    }

    /// The file with some keys set to what they are in another content. Its mode stays.
    fn keys(&self, at: &PathInRepo, old: Option<Found>, keys: &Keys) -> Result<Found, CommitError> {
        let no_file = |found| {
            Err(CommitError::NoFile {
                path: at.clone(),
                found,
            })
        };
        let old = match old {
            None => return no_file("not there"),
            Some(old) => match old.mode & KIND {
                REGULAR => old,
                DIRECTORY => return no_file("a directory"),
                SYMLINK => return no_file("a symlink"),
                _ => return no_file("a submodule"),
            },
        };
        let format = Format::of(at).ok_or_else(|| CommitError::NoFormat { path: at.clone() })?;
        let source = oid(keys.blob.as_str())?;
        if !self.objects.is_partial() && !self.objects.has(source) {
            return Err(CommitError::MissingBlob {
                blob: keys.blob.clone(),
                path: at.clone(),
            });
        }
        // Both are asked for before either is read.
        let wanted = [source, old.id];
        Objects::each(wanted, |id| self.objects.need(id))?;
        let text = |id: Oid, what: String| {
            let content = small_blob(self.objects, id, at, LARGEST_WITH_KEYS)?;
            String::from_utf8(content).map_err(|_error| CommitError::NotText { what })
        };
        let source = text(source, format!("what keys of {at} are taken from"))?;
        let before = text(old.id, at.to_string())?;
        let after =
            values::transfer(format, &source, &before, &keys.keys).map_err(|source| CommitError::Values {
                path: at.clone(),
                source,
            })?;
        if after == before {
            return Ok(old);
        }
        Ok(Found {
            mode: old.mode,
            id: self.write(ObjectType::Blob, after.as_bytes())?,
        })
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

    fn items(&self, directory: Option<Found>) -> Result<Vec<Item>, CommitError> {
        let Some(directory) = directory else {
            return Ok(Vec::new());
        };
        let tree = self.objects.tree(directory.id)?;
        Ok(tree
            .iter()
            .map(|entry| Item {
                name: entry.name_bytes().to_vec(),
                found: Found::of(&entry),
            })
            .collect())
    }

    /// The tree with these entries, in any order; none without any. One of those that are known needs not be made.
    pub(crate) fn tree_of(&self, mut items: Vec<Item>, known: &[Oid]) -> Result<Option<Oid>, CommitError> {
        if items.is_empty() {
            return Ok(None);
        }
        items.sort_by_cached_key(Item::sort_key);
        let mut content = Vec::with_capacity(items.len() * 40);
        for item in &items {
            content.extend_from_slice(format!("{:o} ", item.found.mode).as_bytes());
            content.extend_from_slice(&item.name);
            content.push(0);
            content.extend_from_slice(item.found.id.as_bytes());
        }
        let id = Oid::hash_object(ObjectType::Tree, &content).map_err(CommitError::Write)?;
        if known.contains(&id) {
            return Ok(Some(id));
        }
        self.write(ObjectType::Tree, &content).map(Some)
    }

    pub(crate) fn write(&self, kind: ObjectType, content: &[u8]) -> Result<Oid, CommitError> {
        let id = Oid::hash_object(kind, content).map_err(CommitError::Write)?;
        if !self.keeps {
            return Ok(id);
        }
        // Without a refresh: a new object is the rule, and a miss would read the pack directory again each time.
        let odb = &self.objects.odb;
        if !odb.exists_ext(id, OdbLookupFlags::NO_REFRESH) {
            odb.write(kind, content).map_err(CommitError::Write)?;
        }
        self.made.borrow_mut().insert(id);
        Ok(id)
    }
}

/// Whether each of these edits, by itself, would change anything at a commit. Nothing is written.
pub(crate) fn would_change(
    objects: &Objects<'_>,
    at: &CommitOid,
    edits: &[(PathInRepo, Edit)],
) -> Result<Vec<bool>, ReadError> {
    let mut lookup = Lookup::new(objects, at)?;
    let surgery = Surgery {
        objects,
        keeps: false,
        made: RefCell::default(),
    };
    Objects::each(edits, |(path, edit)| {
        let standing = lookup.find(path)?;
        if let Edit::Whole(tree) = edit {
            // The tree itself need not be here for that.
            return Ok(match (tree, standing) {
                (None, standing) => standing.is_some(),
                (Some(tree), None) => tree.as_str() != EMPTY_TREE,
                (Some(tree), Some(standing)) => standing != Found::directory(oid(tree.as_str())?),
            });
        }
        match surgery.edit(path, standing, edit) {
            Ok(after) => Ok(after != standing),
            Err(CommitError::Read(error)) if error.class() != ErrorClass::User => Err(error),
            // It can't be made, and the commit will say why.
            Err(_) => Ok(true),
        }
    })
}

/// `name` below `at`. Both come from a checked path, so their join is one as well.
fn join(at: &PathInRepo, name: &str) -> PathInRepo {
    PathInRepo::parse(name).map_or_else(|_error| at.clone(), |name| at.join(&name))
}

/// The first path at or below `at` that an edit names, for the error message.
fn first_edit(at: &PathInRepo, node: &Node<'_>) -> PathInRepo {
    match node {
        Node::Below(children) => children
            .iter()
            .find(|(_, child)| child.sets_something())
            .map_or_else(|| at.clone(), |(name, child)| first_edit(&join(at, name), child)),
        Node::Set(_) => at.clone(),
    }
}
