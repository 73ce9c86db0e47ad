//! How many files differ between two trees, without listing them.
//!
//! A few small trees, each of which stands in the next one many times, are more files than fit in memory. Each tree and each
//! pair of trees is counted once here, so the answer costs no more than the objects that there are.

use std::collections::HashMap;

use git2::{Oid, Tree, TreeEntry};

use crate::mirror::MirrorFailure as _;
use crate::objects::Objects;
use crate::read::{DIRECTORY, KIND, ReadError};

/// More differing files are not looked at.
pub(crate) const MOST_FILES: u64 = 1_000_000;

/// How deep directories may lie in each other: counting takes some stack for each.
pub(crate) const DEEPEST: usize = 500;

/// Checks that no more than `most` files differ.
pub(crate) fn check(
    objects: &Objects<'_>,
    old: Option<&Tree<'_>>,
    new: Option<&Tree<'_>>,
    most: u64,
) -> Result<(), ReadError> {
    let mut extent = Extent {
        objects,
        incomplete: false,
        whole: HashMap::new(),
        between: HashMap::new(),
    };
    let count = match (old.map(Tree::id), new.map(Tree::id)) {
        (Some(old), Some(new)) => extent.between(old, new, 0)?,
        (Some(one), None) | (None, Some(one)) => extent.whole(one, 0)?,
        (None, None) => 0,
    };
    if extent.incomplete {
        return Err(ReadError::Incomplete);
    }
    if count > most {
        return Err(ReadError::TooManyFiles { most });
    }
    Ok(())
}

struct Extent<'r> {
    objects: &'r Objects<'r>,
    /// Whether a tree was missing, so that the count means nothing; the others are still looked for.
    incomplete: bool,
    /// The files in a tree.
    whole: HashMap<Oid, u64>,
    /// The files that differ between two.
    between: HashMap<(Oid, Oid), u64>,
}

impl<'r> Extent<'r> {
    /// What was found; none if it is yet to be brought.
    fn unless_missing<T>(&mut self, found: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_incomplete() => {
                self.incomplete = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn entry(&mut self, entry: &TreeEntry<'_>, depth: usize) -> Result<u64, ReadError> {
        if is_directory(entry) {
            self.whole(entry.id(), depth + 1)
        } else {
            Ok(1)
        }
    }

    fn whole(&mut self, tree: Oid, depth: usize) -> Result<u64, ReadError> {
        if let Some(known) = self.whole.get(&tree) {
            return Ok(*known);
        }
        if depth > DEEPEST {
            return Ok(u64::MAX);
        }
        let found = self.objects.whole_tree(tree);
        let mut count = 0_u64;
        if let Some(found) = self.unless_missing(found)? {
            for entry in &found {
                count = count.saturating_add(self.entry(&entry, depth)?);
            }
        }
        self.whole.insert(tree, count);
        Ok(count)
    }

    /// Two trees of the same place.
    fn pair(&mut self, old: Oid, new: Oid) -> Result<Option<(Tree<'r>, Tree<'r>)>, ReadError> {
        let (before, after) = (self.objects.tree(old), self.objects.tree(new));
        let before = self.unless_missing(before)?;
        let after = self.unless_missing(after)?;
        Ok(before.zip(after))
    }

    fn between(&mut self, old: Oid, new: Oid, depth: usize) -> Result<u64, ReadError> {
        if old == new {
            return Ok(0);
        }
        if let Some(known) = self.between.get(&(old, new)) {
            return Ok(*known);
        }
        if depth > DEEPEST {
            return Ok(u64::MAX);
        }
        let Some((before, after)) = self.pair(old, new)? else {
            return Ok(0);
        };
        let mut count = 0_u64;
        for entry in &before {
            let differing = match after.get_name_bytes(entry.name_bytes()) {
                Some(same) if same.id() == entry.id() && same.filemode_raw() == entry.filemode_raw() => 0,
                Some(other) if is_directory(&entry) && is_directory(&other) => {
                    self.between(entry.id(), other.id(), depth + 1)?
                }
                Some(other) if is_directory(&entry) || is_directory(&other) => self
                    .entry(&entry, depth)?
                    .saturating_add(self.entry(&other, depth)?),
                Some(_) => 1,
                None => self.entry(&entry, depth)?,
            };
            count = count.saturating_add(differing);
        }
        for entry in &after {
            if before.get_name_bytes(entry.name_bytes()).is_none() {
                count = count.saturating_add(self.entry(&entry, depth)?);
            }
        }
        self.between.insert((old, new), count);
        Ok(count)
    }
}

fn is_directory(entry: &TreeEntry<'_>) -> bool {
    entry.filemode_raw() & KIND == DIRECTORY
}
