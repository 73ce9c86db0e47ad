//! The files that differ between two trees.
//!
//! Only directories that differ are read. libgit2's own comparison reads all of both trees, which takes long for large ones and cannot be done
//! where most of them are missing.

use std::collections::HashMap;

use git2::{Oid, Tree, TreeEntry};

use crate::extent::{self, MOST_FILES};
use crate::objects::Objects;
use crate::read::{DIRECTORY, KIND, REGULAR, ReadError, SYMLINK};

/// A path whose file, symlink or submodule is not the same in two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// As git has it, which need not be UTF-8.
    pub(crate) path: Vec<u8>,
    pub(crate) old: Option<Entry>,
    pub(crate) new: Option<Entry>,
}

/// What stands at a path: its raw mode, and what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    mode: i32,
    pub(crate) id: Oid,
}

impl Entry {
    fn of(entry: &TreeEntry<'_>) -> Self {
        Self {
            mode: entry.filemode_raw(),
            id: entry.id(),
        }
    }

    const fn kind(self) -> i32 {
        self.mode & KIND
    }

    const fn is_directory(self) -> bool {
        self.kind() == DIRECTORY
    }

    /// Whether it has content, so that it can be found again elsewhere.
    pub(crate) const fn is_file(self) -> bool {
        matches!(self.kind(), REGULAR | SYMLINK)
    }
}

/// Compares two trees as git does, by name, mode and object id; none is a tree without entries.
pub(crate) fn between(
    objects: &Objects<'_>,
    old: Option<&Tree<'_>>,
    new: Option<&Tree<'_>>,
) -> Result<Vec<Difference>, ReadError> {
    // This looks at all directories that differ, and at how deep they lie in each other.
    extent::check(objects, old, new, MOST_FILES)?;
    let mut walk = Walk {
        objects,
        at: Vec::new(),
        found: Vec::new(),
    };
    walk.trees(old, new)?;
    Ok(walk.found)
}

/// How many files differ when those that moved unchanged count once, and how many of the others could be pairs, too.
pub(crate) fn without_moved(differences: &[Difference]) -> (u64, u64) {
    let mut gone: HashMap<(i32, Oid), u64> = HashMap::new();
    let (mut added, mut deleted, mut moved) = (0_u64, 0_u64, 0_u64);
    for difference in differences {
        if let (Some(old), None) = (difference.old, difference.new)
            && old.is_file()
        {
            deleted += 1;
            *gone.entry((old.kind(), old.id)).or_default() += 1;
        }
    }
    for difference in differences {
        if let (None, Some(new)) = (difference.old, difference.new)
            && new.is_file()
        {
            added += 1;
            if let Some(left) = gone.get_mut(&(new.kind(), new.id))
                && *left > 0
            {
                *left -= 1;
                moved += 1;
            }
        }
    }
    let count = (differences.len() as u64).saturating_sub(moved);
    (count, added.min(deleted).saturating_sub(moved))
}

struct Walk<'a> {
    objects: &'a Objects<'a>,
    /// The directory that is being compared, with a slash at its end.
    at: Vec<u8>,
    found: Vec<Difference>,
}

impl Walk<'_> {
    fn trees(&mut self, old: Option<&Tree<'_>>, new: Option<&Tree<'_>>) -> Result<(), ReadError> {
        for entry in old.into_iter().flatten() {
            let name = entry.name_bytes();
            let other = new
                .and_then(|new| new.get_name_bytes(name))
                .map(|entry| Entry::of(&entry));
            self.entries(name, Some(Entry::of(&entry)), other)?;
        }
        for entry in new.into_iter().flatten() {
            let name = entry.name_bytes();
            if old.is_none_or(|old| old.get_name_bytes(name).is_none()) {
                self.entries(name, None, Some(Entry::of(&entry)))?;
            }
        }
        Ok(())
    }

    fn entries(&mut self, name: &[u8], old: Option<Entry>, new: Option<Entry>) -> Result<(), ReadError> {
        if old == new {
            return Ok(());
        }
        let length = self.at.len();
        self.at.extend_from_slice(name);
        let tree = |entry: Option<Entry>| {
            let directory = entry.filter(|entry| entry.is_directory());
            directory.map(|entry| self.objects.tree(entry.id)).transpose()
        };
        let (below_old, below_new) = (tree(old)?, tree(new)?);
        let file = |entry: Option<Entry>| entry.filter(|entry| !entry.is_directory());
        let (old, new) = (file(old), file(new));
        if old.is_some() || new.is_some() {
            self.found.push(Difference {
                path: self.at.clone(),
                old,
                new,
            });
        }
        if below_old.is_some() || below_new.is_some() {
            self.at.push(b'/');
            self.trees(below_old.as_ref(), below_new.as_ref())?;
        }
        self.at.truncate(length);
        Ok(())
    }
}
