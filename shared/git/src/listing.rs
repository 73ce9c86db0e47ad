//! What is read of a component of which not all travels: which files it has, and the text of files whose keys do.

use std::collections::{BTreeMap, BTreeSet};

use git2::Oid;
use lockflight_promotion::plan::{File, ListedFile, Listing};
use lockflight_promotion::{BlobOid, CommitOid, PathInRepo};

use crate::mirror::MirrorFailure as _;
use crate::objects::Objects;
use crate::read::{DIRECTORY, Found, KIND, Lookup, REGULAR, ReadError, SYMLINK, small_blob};
use crate::select::DEEPEST_SELECTED;

/// How much is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// The most files of one listing, and the most directories.
    pub(crate) each: usize,
    /// The most of one call: each file as often as it is in the answer, and each directory as often as it is read.
    pub(crate) all: usize,
}

const MOST_LISTED: Most = Most {
    each: 50_000,
    all: 500_000,
};

/// The most text of one call, in bytes.
const MOST_TEXT: u64 = 64 * 1024 * 1024;

/// The files below each of `paths` in `commit`. What is no directory, or not there, has none.
pub(crate) fn listings(
    objects: &Objects<'_>,
    commit: &CommitOid,
    paths: &[PathInRepo],
) -> Result<BTreeMap<PathInRepo, Listing>, ReadError> {
    listings_of(objects, commit, paths, MOST_LISTED)
}

pub(crate) fn listings_of(
    objects: &Objects<'_>,
    commit: &CommitOid,
    paths: &[PathInRepo],
    most: Most,
) -> Result<BTreeMap<PathInRepo, Listing>, ReadError> {
    let mut lookup = Lookup::new(objects, commit)?;
    // One source usually stands at many targets. Where it does, it is read once.
    let mut trees: BTreeMap<Oid, BTreeSet<&PathInRepo>> = BTreeMap::new();
    let mut listings = BTreeMap::new();
    Objects::each(paths, |path| {
        match lookup.find(path)? {
            Some(found) if found.is_directory() => {
                trees.entry(found.id).or_default().insert(path);
            }
            _ => {
                listings.insert(path.clone(), Listing::new());
            }
        }
        Ok::<_, ReadError>(())
    })
    .map_err(|error| {
        // Those that were found are looked into all the same, so that what they miss comes with the rest.
        let found = trees.iter().map(|(tree, paths)| (*tree, paths.first().copied()));
        let mut spent = 0;
        let looked = Objects::each(found, |(tree, path)| {
            path.map_or(Ok(()), |path| {
                List::of(objects, path, most, 1, &mut spent).run(tree).map(drop)
            })
        });
        match looked {
            Err(worse) if !worse.is_incomplete() => worse,
            _ => error,
        }
    })?;
    let mut spent = 0;
    Objects::each(&trees, |(tree, paths)| {
        let mut others = paths.iter();
        let Some(first) = others.next() else {
            return Ok(());
        };
        let listing = List::of(objects, first, most, paths.len(), &mut spent).run(*tree)?;
        listings.extend(others.map(|path| (PathInRepo::clone(path), listing.clone())));
        listings.insert(PathInRepo::clone(first), listing);
        Ok::<_, ReadError>(())
    })?;
    Ok(listings)
}

struct List<'a> {
    objects: &'a Objects<'a>,
    path: &'a PathInRepo,
    most: Most,
    /// How often the listing is in the answer.
    copies: usize,
    /// What the call took so far of [`Most::all`].
    spent: &'a mut usize,
    directories: usize,
    /// The directory that is being listed, with a slash at its end.
    at: Vec<u8>,
    found: Listing,
}

impl<'a> List<'a> {
    const fn of(
        objects: &'a Objects<'a>,
        path: &'a PathInRepo,
        most: Most,
        copies: usize,
        spent: &'a mut usize,
    ) -> Self {
        Self {
            objects,
            path,
            most,
            copies,
            spent,
            directories: 0,
            at: Vec::new(),
            found: Listing::new(),
        }
    }

    fn run(mut self, tree: Oid) -> Result<Listing, ReadError> {
        self.tree(tree, 0)?;
        Ok(self.found)
    }

    fn tree(&mut self, tree: Oid, depth: usize) -> Result<(), ReadError> {
        self.directories += 1;
        if depth > DEEPEST_SELECTED || self.directories > self.most.each {
            return Err(self.too_many(self.most.each));
        }
        self.spend(1)?;
        let tree = self.objects.whole_tree(tree)?;
        let length = self.at.len();
        Objects::each(&tree, |entry| {
            self.at.extend_from_slice(entry.name_bytes());
            let found = Found::of(&entry);
            let listed = if found.is_directory() {
                self.at.push(b'/');
                self.tree(found.id, depth + 1)
            } else {
                self.file(found)
            };
            self.at.truncate(length);
            listed
        })
        .map(drop)
    }

    fn file(&mut self, found: Found) -> Result<(), ReadError> {
        if self.found.len() == self.most.each {
            return Err(self.too_many(self.most.each));
        }
        self.spend(self.copies)?;
        let file = ListedFile {
            mode: u32::try_from(found.mode).unwrap_or_default(),
            id: found.id.to_string(),
        };
        self.found.insert(self.at.clone(), file);
        Ok(())
    }

    fn spend(&mut self, entries: usize) -> Result<(), ReadError> {
        *self.spent = self.spent.saturating_add(entries);
        if *self.spent > self.most.all {
            return Err(self.too_many(self.most.all));
        }
        Ok(())
    }

    fn too_many(&self, most: usize) -> ReadError {
        ReadError::TooManyListed {
            path: self.path.clone(),
            most,
        }
    }
}

/// The text of each of `paths` in `commit`.
pub(crate) fn files(
    objects: &Objects<'_>,
    commit: &CommitOid,
    paths: &[PathInRepo],
    max_bytes: u64,
) -> Result<BTreeMap<PathInRepo, File>, ReadError> {
    files_of(objects, commit, paths, max_bytes, MOST_TEXT)
}

/// As [`files`]. What goes beyond `most` bytes of all files together is not read, and said to be too much.
pub(crate) fn files_of(
    objects: &Objects<'_>,
    commit: &CommitOid,
    paths: &[PathInRepo],
    max_bytes: u64,
    most: u64,
) -> Result<BTreeMap<PathInRepo, File>, ReadError> {
    let mut room = Room {
        max_bytes,
        most,
        left: most,
        is_full: false,
    };
    let mut lookup = Lookup::new(objects, commit)?;
    let read = Objects::each(paths, |path| {
        let file = match lookup.find(path)? {
            None if lookup.is_below_a_file(path)? => unreadable("it lies below a file, symlink or submodule"),
            None => File::Absent,
            Some(found) => match found.mode & KIND {
                REGULAR => room.text(objects, found.id, path)?,
                DIRECTORY => unreadable("it is a directory, where a file was expected"),
                SYMLINK => unreadable("it is a symlink, which is not followed; put a file there"),
                _ => unreadable("it is a submodule, where a file was expected"),
            },
        };
        Ok::<_, ReadError>((path.clone(), file))
    })?;
    Ok(read.into_iter().collect())
}

/// How much text is still taken.
struct Room {
    /// Of one file.
    max_bytes: u64,
    /// Of all files together.
    most: u64,
    left: u64,
    /// A file did not fit. None after it is read, so that which ones are does not depend on their sizes.
    is_full: bool,
}

impl Room {
    fn text(&mut self, objects: &Objects<'_>, id: Oid, path: &PathInRepo) -> Result<File, ReadError> {
        if self.is_full {
            return Ok(self.full());
        }
        let content = match small_blob(objects, id, path, self.max_bytes.min(self.left)) {
            Ok(content) => content,
            Err(ReadError::TooBig { size, .. }) if size > self.max_bytes => {
                let max = self.max_bytes;
                return Ok(unreadable(format!("it has {size} bytes; at most {max} are read")));
            }
            Err(ReadError::TooBig { .. }) => {
                self.is_full = true;
                return Ok(self.full());
            }
            Err(error) => return Err(error),
        };
        Ok(match String::from_utf8(content) {
            Ok(text) => {
                self.left = self.left.saturating_sub(text.len() as u64);
                File::Text {
                    blob: BlobOid::parse(id.to_string())
                        .map_err(|error| ReadError::ObjectFormat(error.value))?,
                    text,
                }
            }
            Err(_) => unreadable("it is not UTF-8 text"),
        })
    }

    fn full(&self) -> File {
        let most = self.most;
        unreadable(format!(
            "with it, the files that are read in one go have more than {most} bytes; let fewer or smaller ones travel"
        ))
    }
}

fn unreadable(reason: impl Into<String>) -> File {
    File::Unreadable(reason.into())
}
