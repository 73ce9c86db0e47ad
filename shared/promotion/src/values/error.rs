//! What stops an edit, and where.

use std::fmt;

use crate::ErrorClass;

use super::{MAX_BYTES, MAX_DEPTH, MAX_KEYS};

/// Which of the two files an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The file that values are read from.
    Source,
    /// The file that is edited, or the only one.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why keys were not edited, with the place in the file. Nothing has been changed.
///
/// The message never repeats a value, which may be a secret: only names of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{side} line {line}, column {column}: {problem}")]
pub struct ValueError {
    /// The file that it is about.
    pub side: Side,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub problem: Problem,
}

impl ValueError {
    /// A person has to mend one of the files or the key.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::User
    }
}

crate::classified!(ValueError);

/// What is wrong, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is larger than the bound.
    #[error("the file is larger than {} KiB; expected a smaller one", MAX_BYTES / 1024)]
    TooLarge,
    /// The file is nested deeper than the bound.
    #[error("the file is nested deeper than {MAX_DEPTH} levels; expected a flatter one")]
    TooDeep,
    /// Too many keys were asked for.
    #[error("more than {MAX_KEYS} keys are named; expected fewer, such as the key above them")]
    TooManyKeys,
    /// The file cannot be read.
    #[error("this is not valid {format}: {expected}")]
    Syntax {
        /// The name of the format.
        format: &'static str,
        /// What the reader says.
        expected: String,
    },
    /// A second YAML document begins.
    #[error("a second YAML document begins here; expected one, so split the file or remove the `---`")]
    SecondDocument,
    /// The same key stands twice in one map.
    #[error("{}; expected each key once", duplicate(.key.as_deref()))]
    DuplicateKey {
        /// The key's name, where it may be repeated.
        key: Option<String>,
    },
    /// The source has no such key, though the target has.
    #[error(
        "the source has no `{key}`, but the target has; expected it in both, so add it here or remove it from the target"
    )]
    MissingAtSource {
        /// The key.
        key: String,
    },
    /// The way to the key passes through something that is not a map.
    #[error("`{key}` is {found} here; expected a map")]
    NotAMap {
        /// The part of the key that leads here.
        key: String,
        /// What stands here.
        found: &'static str,
    },
    /// The way to the key passes through something that is not a list.
    #[error("`{key}` is {found} here; expected a list")]
    NotAList {
        /// The part of the key that leads here.
        key: String,
        /// What stands here.
        found: &'static str,
    },
    /// No item of the list is meant by the key; items are not added.
    #[error("no item of the list is `{key}`; expected it to be there, since items are not added to lists")]
    NoSuchItem {
        /// The part of the key that leads to the item.
        key: String,
    },
    /// The key means more than one place.
    #[error("a second place here is `{key}` too; expected one")]
    Ambiguous {
        /// The part of the key that leads here.
        key: String,
    },
    /// A single value was expected.
    #[error("`{key}` is {found}; expected a single value")]
    NotAScalar {
        /// The key.
        key: String,
        /// What stands here.
        found: &'static str,
    },
    /// Two of the keys name one place.
    #[error("`{key}` lies within a place that another key names; expected one of the two")]
    Overlap {
        /// The second key.
        key: String,
    },
    /// The value comes from elsewhere in the file, so that it cannot be set here.
    #[error(
        "an alias (`*name`) stands here, on the way to what is edited or within it; expected a value of its own"
    )]
    Alias,
    /// Others in the file take the value from here.
    #[error(
        "an anchor (`&name`) stands here, where something is edited; expected none, since others may refer to it"
    )]
    Anchor,
    /// The key may come from a merge.
    #[error("`{key}` comes from the merge (`<<`) here; expected it to be written in the map itself")]
    Merged {
        /// The part of the key that comes from the merge.
        key: String,
    },
    /// What the number is to be is not one.
    #[error("the number for `{key}` is not one; expected digits, such as `3` or `1.5e3`")]
    NotANumber {
        /// The key.
        key: String,
    },
    /// The format has no such value.
    #[error("{format} has no null, which `{key}` is to become; expected another value")]
    NoNull {
        /// The name of the format.
        format: &'static str,
        /// The key.
        key: String,
    },
    /// A layout that is not edited.
    #[error("{what} stands here, which is not edited; expected {expected}")]
    Layout {
        /// What stands here.
        what: &'static str,
        /// What would be edited.
        expected: &'static str,
    },
    /// The edited text did not say what it should, so it was thrown away.
    #[error(
        "the layout here did not allow the edit: the result would have said something else, so nothing was \
         changed; expected a simpler layout around the key"
    )]
    Unfaithful,
}

fn duplicate(key: Option<&str>) -> String {
    key.map_or_else(
        || "a key stands here a second time".to_owned(),
        |key| format!("the key `{key}` stands here a second time"),
    )
}

/// A problem at a byte of a file.
#[derive(Debug)]
pub(super) struct Fault {
    side: Side,
    pub(super) offset: usize,
    pub(super) problem: Problem,
}

impl Fault {
    /// About the target.
    pub(super) const fn new(offset: usize, problem: Problem) -> Self {
        Self {
            side: Side::Target,
            offset,
            problem,
        }
    }

    pub(super) fn at_source(self) -> Self {
        Self {
            side: Side::Source,
            ..self
        }
    }

    /// With its line and column.
    pub(super) fn located(self, source: &str, target: &str) -> ValueError {
        let text = match self.side {
            Side::Source => source,
            Side::Target => target,
        };
        let mut before = text.get(..self.offset).unwrap_or(text);
        let line = 1 + before.bytes().filter(|b| *b == b'\n').count();
        if let Some(at) = before.rfind('\n') {
            before = before.get(at + 1..).unwrap_or_default();
        }
        ValueError {
            side: self.side,
            line,
            column: 1 + before.chars().count(),
            problem: self.problem,
        }
    }
}

/// The name of a key, where it may be repeated in a message: what looks like a name, since a file may hold a secret where a
/// key should be.
pub(super) fn key_name(key: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
    ((1..=64).contains(&key.len()) && key.bytes().all(plain)).then(|| key.to_owned())
}
