//! What it takes to make a target equal to its source (rules 5 and 6).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use super::candidates::Candidate;
use super::{Content, Entry, File, Keys, Listing, PlanError};
use crate::values::{self, Format};
use crate::{PathInRepo, Selection, Selector, TreeOid};

pub(super) enum Comparison {
    /// It can be made equal: the target has to get this tree, or these keys, or to go.
    Possible {
        tree: Option<TreeOid>,
        keys: Option<Box<Keys>>,
        /// Whether it is so already.
        is_equal: bool,
    },
    /// It can't be made equal: why.
    Refused(String),
}

impl Comparison {
    fn no_directory(path: &PathInRepo) -> Self {
        Self::Refused(format!(
            "a file, symlink or submodule stands at {path}, where the component's directory should be"
        ))
    }
}

/// Each selection of the flows, compiled once.
#[derive(Default)]
pub(super) struct Selectors<'a>(BTreeMap<&'a Selection, Selector>);

impl<'a> Selectors<'a> {
    fn of(&mut self, selection: &'a Selection) -> Result<&Selector, PlanError> {
        Ok(match self.0.entry(selection) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(slot) => slot.insert(selection.compile().map_err(PlanError::Selection)?),
        })
    }
}

/// What it takes where directories travel. `contents` are those of the source and of the target.
pub(super) fn trees<'a>(
    candidate: Candidate<'a>,
    source: &Entry,
    target: &Entry,
    contents: (&Content, &Content),
    selectors: &mut Selectors<'a>,
) -> Result<Comparison, PlanError> {
    let wanted = match source {
        Entry::NotADirectory => return Ok(Comparison::no_directory(&candidate.origin.from)),
        Entry::Tree(tree) => Some(tree),
        Entry::Absent => None,
    };
    let equal = match target {
        Entry::NotADirectory => return Ok(Comparison::no_directory(&candidate.to())),
        Entry::Tree(tree) => wanted == Some(tree),
        Entry::Absent => wanted.is_none(),
    };
    let equal = equal || {
        let selection = &candidate.way.flow.selection;
        !selection.is_everything() && {
            let selector = selectors.of(selection)?;
            let from = listing(contents.0, &candidate.origin.from)?;
            let to = listing(contents.1, &candidate.to())?;
            selected(from, selector).eq(selected(to, selector))
        }
    };
    Ok(Comparison::Possible {
        tree: wanted.cloned(),
        keys: None,
        is_equal: equal,
    })
}

fn selected<'l>(
    listing: &'l Listing,
    selector: &Selector,
) -> impl Iterator<Item = (&'l Vec<u8>, &'l super::ListedFile)> {
    listing
        .iter()
        .filter(move |(path, _)| selector.selects(&String::from_utf8_lossy(path)))
}

/// What it takes where keys of a file travel.
pub(super) fn files(
    candidate: Candidate<'_>,
    source: &Content,
    target: &Content,
) -> Result<Comparison, PlanError> {
    let (from, to) = (&candidate.origin.from, &candidate.to());
    let refused = |path: &PathInRepo, why: &str| Ok(Comparison::Refused(format!("{path}: {why}")));
    let (blob, text) = match file(source, from)? {
        File::Text { blob, text } => (blob, text),
        File::Absent => {
            return refused(from, "the file is gone, so what was taken from it stays as it is");
        }
        File::Unreadable(reason) => return refused(from, reason),
    };
    let before = match file(target, to)? {
        File::Text { text, .. } => text,
        File::Absent => {
            return refused(
                to,
                "there is no such file, and keys are only set in one that is there; add it once by hand",
            );
        }
        File::Unreadable(reason) => return refused(to, reason),
    };
    let formats = (Format::of(from), Format::of(to));
    let format = match formats {
        (Some(from), Some(to)) if from == to => from,
        _ => {
            return refused(
                to,
                "keys travel between files of one format: YAML, JSON or TOML, told by the ends of their names",
            );
        }
    };
    let keys = &candidate.way.flow.keys;
    Ok(match values::transfer(format, text, before, keys) {
        Ok(after) => Comparison::Possible {
            tree: None,
            keys: Some(Box::new(Keys {
                blob: blob.clone(),
                keys: keys.clone(),
            })),
            is_equal: after == *before,
        },
        Err(error) => Comparison::Refused(format!("{from} to {to}: {error}")),
    })
}

fn file<'c>(content: &'c Content, path: &PathInRepo) -> Result<&'c File, PlanError> {
    content
        .files
        .get(path)
        .ok_or_else(|| PlanError::MissingFact(path.clone()))
}

fn listing<'c>(content: &'c Content, path: &PathInRepo) -> Result<&'c Listing, PlanError> {
    content
        .listings
        .get(path)
        .ok_or_else(|| PlanError::MissingFact(path.clone()))
}
