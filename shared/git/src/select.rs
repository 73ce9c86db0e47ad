//! Replacing the selected files of a directory by those of another, and leaving the others as they are.

use std::cell::Cell;
use std::collections::BTreeMap;

use git2::{Oid, Tree};
use lockflight_promotion::{PathInRepo, Selection, Selector};

use crate::commit::CommitError;
use crate::extent::MOST_FILES;
use crate::objects::Objects;
use crate::read::{Found, ReadError, oid};
use crate::surgery::{EMPTY_TREE, Item, Surgery};

/// How deep directories of which not all travels may lie in each other: merging takes more stack for each than most walks.
pub(crate) const DEEPEST_SELECTED: usize = 100;

/// One directory that is being merged.
pub(crate) struct Merge<'a> {
    surgery: &'a Surgery<'a>,
    /// Where the directory stands.
    to: &'a PathInRepo,
    selector: Selector,
    /// Says no to a directory in which nothing is selected, since it is excluded itself.
    excluded: Selector,
    /// Says yes to a directory in which all is selected; none where that can't be known from the directory.
    included: Option<Selector>,
    empty: Oid,
    /// How many entries may still be looked at.
    left: Cell<u64>,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(
        surgery: &'a Surgery<'a>,
        to: &'a PathInRepo,
        selection: &Selection,
    ) -> Result<Self, CommitError> {
        let compile = |selection: &Selection| {
            selection.compile().map_err(|source| CommitError::Selection {
                path: to.clone(),
                source,
            })
        };
        let excluded = Selection {
            include: Vec::new(),
            exclude: selection.exclude.clone(),
        };
        let selector = compile(selection)?;
        Ok(Self {
            surgery,
            to,
            excluded: compile(&excluded)?,
            // A glob that matches a directory means all in it.
            included: selection.exclude.is_empty().then(|| selector.clone()),
            selector,
            empty: oid(EMPTY_TREE)?,
            left: Cell::new(MOST_FILES),
        })
    }

    /// The tree that `old` becomes with the selected files of `new`; none when nothing is left.
    pub(crate) fn run(&self, old: Option<Oid>, new: Option<Oid>) -> Result<Option<Oid>, CommitError> {
        self.trees(old, new, &mut Vec::new(), 0)
    }

    /// `at` is the path inside the directory, as git has it.
    fn trees(
        &self,
        old: Option<Oid>,
        new: Option<Oid>,
        at: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Option<Oid>, CommitError> {
        if old == new {
            return Ok(old);
        }
        if depth > DEEPEST_SELECTED {
            return Err(too_much());
        }
        let objects = self.surgery.objects;
        // Further down all is asked for at once. On top, where much is mostly left out, only what is looked at.
        let read = |tree: Option<Oid>| {
            tree.map(|tree| match depth {
                0 => objects.tree(tree),
                _ => objects.whole_tree(tree),
            })
            .transpose()
        };
        // Both are noted before either fails.
        let (before, after) = (read(old), read(new));
        let (before, after) = (before?, after?);
        let (before, after) = (listed(before.as_ref()), listed(after.as_ref()));
        let count = (before.len() + after.len()) as u64;
        self.left
            .set(self.left.get().checked_sub(count).ok_or_else(too_much)?);
        let mut names: BTreeMap<&[u8], (Option<Found>, Option<Found>)> = BTreeMap::new();
        for (name, found) in &before {
            names.entry(name).or_default().0 = Some(*found);
        }
        for (name, found) in &after {
            names.entry(name).or_default().1 = Some(*found);
        }
        let length = at.len();
        let items = Objects::each(names, |(name, (before, after))| {
            if length > 0 {
                at.push(b'/');
            }
            at.extend_from_slice(name);
            let found = self.entry(before, after, at, depth);
            at.truncate(length);
            Ok::<_, CommitError>(found?.map(|found| Item {
                name: name.to_vec(),
                found,
            }))
        })?;
        let known: Vec<Oid> = [old, new].into_iter().flatten().collect();
        self.surgery
            .tree_of(items.into_iter().flatten().collect(), &known)
    }

    /// What stands at one path afterwards.
    fn entry(
        &self,
        old: Option<Found>,
        new: Option<Found>,
        at: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Option<Found>, CommitError> {
        if old == new {
            return Ok(old);
        }
        // As the planner has it: a name that is not UTF-8 is matched by what can be read of it.
        let path = String::from_utf8_lossy(at).into_owned();
        if !self.excluded.selects(&path) {
            return Ok(old);
        }
        if self.included.as_ref().is_some_and(|all| all.selects(&path)) {
            return Ok(new.filter(|new| new.id != self.empty));
        }
        let file = |found: Option<Found>| found.filter(|found| !found.is_directory());
        let directory = |found: Option<Found>| found.filter(Found::is_directory).map(|found| found.id);
        let standing = file(if self.selector.selects(&path) { new } else { old });
        let below = self.trees(directory(old), directory(new), at, depth + 1)?;
        match (standing, below) {
            // One of them stays, and the other arrives.
            (Some(_), Some(_)) => {
                let at = PathInRepo::parse(&path)
                    .map_or_else(|_error| self.to.clone(), |path| self.to.join(&path));
                Err(CommitError::InTheWay {
                    path: self.to.clone(),
                    at,
                })
            }
            (standing, below) => Ok(standing.or(below.map(Found::directory))),
        }
    }
}

fn too_much() -> CommitError {
    CommitError::Read(ReadError::TooManyFiles { most: MOST_FILES })
}

fn listed(tree: Option<&Tree<'_>>) -> Vec<(Vec<u8>, Found)> {
    tree.into_iter()
        .flat_map(Tree::iter)
        .map(|entry| (entry.name_bytes().to_vec(), Found::of(&entry)))
        .collect()
}
