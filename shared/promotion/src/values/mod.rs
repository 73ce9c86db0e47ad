//! Sets keys of YAML, JSON and TOML files, and leaves every other byte as it is.
//!
//! This is how a single instance with a file per environment is promoted: chosen keys of `values-staging.yaml` are set in
//! `values-production.yaml`, whose comments, order, quotes and layout stay. It also serves the bump of a version.
//!
//! What it guarantees:
//!
//! - A key that already means what it should is not touched, so everything here can be done again without effect.
//! - Of a map or list, only the parts that differ are touched. A part that has to be written anew is copied from the source,
//!   its scalars byte for byte, in the indentation of the target. Comments do not travel.
//! - The result is read again and compared with what it should mean. If it means anything else, there is an error and no
//!   result: a file is never damaged.
//! - Nothing is edited that other parts of a file refer to: an alias (`*name`) or an anchor that is in use (`&name`) on the way
//!   to a key or within it is an error, and so is a key that a merge (`<<`) provides.
//!
//! Files have at most [`MAX_BYTES`] bytes and [`MAX_DEPTH`] levels. Time and memory are linear in the two files for each key.

mod change;
mod edits;
mod error;
mod json;
mod path;
#[cfg(test)]
mod tests;
mod toml;
mod tree;
mod yaml;

use crate::PathInRepo;

use change::Plan;
use error::Fault;
use tree::{Aliases, Finder, Found, Kind, Tree, Value};

pub use error::{Problem, Side, ValueError};
pub use path::{InvalidKeyPath, KeyPath};

/// The largest file, in bytes, before and after an edit.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 64;
/// The most keys that one transfer sets.
pub const MAX_KEYS: usize = 256;
/// How many times the largest file an edit may write before it is given up.
const MAX_GROWTH: usize = 4;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// YAML 1.2, with what YAML 1.1 means by it in mind.
    Yaml,
    /// JSON, without comments.
    Json,
    /// TOML 1.0.
    Toml,
}

impl Format {
    /// The format of a file by the end of its name: `.yaml`, `.yml`, `.json` or `.toml`, in any case.
    #[must_use]
    pub fn of(path: &PathInRepo) -> Option<Self> {
        let (_, extension) = path.file_name()?.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    fn read(self, text: &str) -> Result<Tree<'_>, Fault> {
        if text.len() > MAX_BYTES {
            return Err(Fault::new(0, Problem::TooLarge));
        }
        match self {
            Self::Yaml => yaml::read(text),
            Self::Json => json::read(text),
            Self::Toml => toml::read(text),
        }
    }
}

/// A single value that is to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A text. It stays one, whatever it looks like: `1.10` and `true` are written in quotes.
    Text(String),
    /// A number, as it is to be written: in the way of JSON, such as `3`, `-1.50` or `1e3`.
    Number(String),
    /// True or false.
    Truth(bool),
    /// Nothing. TOML has no such value.
    Null,
}

/// Sets each of `keys` in `target` to what it is in `source`, a single value or a whole list or map, and returns the edited
/// target.
///
/// A key that the target lacks is added with its parents, in the layout of its surroundings; items of lists are not added by
/// a key that names one. A key that both lack is passed over. In the source, aliases are followed.
///
/// # Errors
/// When one of the files cannot be read, or is beyond the bounds; when the source lacks a key that the target has; when the way
/// to a key passes through something else than the key says; or when the edit would touch something else.
pub fn transfer(format: Format, source: &str, target: &str, keys: &[KeyPath]) -> Result<String, ValueError> {
    let (_, source) = split_mark(source);
    let (mark, target) = split_mark(target);
    let edited = || {
        if keys.len() > MAX_KEYS {
            return Err(Fault::new(0, Problem::TooManyKeys));
        }
        let from = format.read(source).map_err(Fault::at_source)?;
        let to = format.read(target)?;
        let plan = match format {
            Format::Yaml => {
                let removable = |map: &_, entry: &_| yaml::removable(target, map, entry);
                Plan::transfer(&from, &to, keys, &removable)?
            }
            Format::Json => Plan::transfer(&from, &to, keys, &json::removable)?,
            Format::Toml => {
                let removable = |map: &_, entry: &_| toml::removable(target, map, entry);
                Plan::transfer(&from, &to, keys, &removable)?
            }
        };
        let edited = apply(format, Some(&from), &to, &plan)?;
        if plan.is_empty() {
            return Ok(edited);
        }
        // What was checked above is that the file means what was planned; this is that the plan was right.
        let result = format.read(&edited)?;
        let (from, to) = (
            Finder::new(&from.root, Aliases::Follow),
            Finder::new(&result.root, Aliases::Refuse),
        );
        for key in keys {
            if let Found::At(wanted) = from.find(key).map_err(Fault::at_source)? {
                let set = match to.find(key)? {
                    Found::At(node) => Value::alone(node) == Value::alone(wanted),
                    Found::Missing { .. } => false,
                };
                if !set {
                    let key = key.to_string();
                    return Err(Fault::new(0, Problem::Overlap { key }));
                }
            }
        }
        Ok(edited)
    };
    match edited() {
        Ok(edited) => Ok(format!("{mark}{edited}")),
        Err(fault) => Err(fault.located(source, target)),
    }
}

/// Sets `key` in `text` to `value`, and returns the edited text. It keeps the quotes of what stands there, as far as they allow
/// the value to be what it is.
///
/// A key that is missing is added with its parents, in the layout of its surroundings.
///
/// # Errors
/// As for [`transfer`]; and when a list or a map stands there, or the number is not one.
pub fn set(format: Format, text: &str, key: &KeyPath, value: &Scalar) -> Result<String, ValueError> {
    let (mark, text) = split_mark(text);
    let edited = || {
        let named = || key.to_string();
        match value {
            Scalar::Number(number) if json::number(number) != Some(number.len()) => {
                return Err(Fault::new(0, Problem::NotANumber { key: named() }));
            }
            Scalar::Null if format == Format::Toml => {
                let (format, key) = ("TOML", named());
                return Err(Fault::new(0, Problem::NoNull { format, key }));
            }
            _ => {}
        }
        let tree = format.read(text)?;
        let plan = Plan::set(&tree, key, value)?;
        apply(format, None, &tree, &plan)
    };
    match edited() {
        Ok(edited) => Ok(format!("{mark}{edited}")),
        Err(fault) => Err(fault.located("", text)),
    }
}

/// The text of the single value at `key`: without quotes, `null` for nothing, numbers as they are written. None if there is no
/// such key. Aliases are followed.
///
/// # Errors
/// When the file cannot be read, or is beyond the bounds; when the way to the key passes through something else than the key
/// says; or when a list or a map stands there.
pub fn get(format: Format, text: &str, key: &KeyPath) -> Result<Option<String>, ValueError> {
    let (_, text) = split_mark(text);
    let found = || {
        let tree = format.read(text)?;
        match Finder::new(&tree.root, Aliases::Follow).find(key)? {
            Found::Missing { .. } => Ok(None),
            Found::At(node) => match &node.kind {
                Kind::Scalar(meaning) => Ok(Some(meaning.text().to_owned())),
                _ => {
                    let (key, found) = (key.to_string(), node.describe());
                    Err(Fault::new(node.start, Problem::NotAScalar { key, found }))
                }
            },
        }
    };
    found().map_err(|fault: Fault| fault.located("", text))
}

/// A byte order mark, and what follows it.
fn split_mark(text: &str) -> (&str, &str) {
    text.split_at_checked('\u{feff}'.len_utf8())
        .filter(|(mark, _)| *mark == "\u{feff}")
        .unwrap_or(("", text))
}

/// The target with the changes of `plan`, checked to mean just that.
fn apply(
    format: Format,
    source: Option<&Tree<'_>>,
    target: &Tree<'_>,
    plan: &Plan<'_>,
) -> Result<String, Fault> {
    if plan.is_empty() {
        return Ok(target.text.to_owned());
    }
    // Written first: it is cut off where it grows beyond bounds.
    let mut edited = match format {
        Format::Yaml => yaml::write(target, source, plan, false)?,
        Format::Json => json::write(target, source, plan)?,
        Format::Toml => toml::write(target, source, plan)?,
    };
    let expected = plan.expected(&target.root);
    let faithful = |edited: &str| {
        let tree = format.read(edited);
        tree.is_ok_and(|tree| Value::of(&tree.root) == expected)
    };
    if faithful(&edited) {
        return Ok(edited);
    }
    if format == Format::Yaml {
        edited = yaml::write(target, source, plan, true)?;
        if faithful(&edited) {
            return Ok(edited);
        }
    }
    let place = target.root.first(&|node| plan.at(node).is_some());
    Err(Fault::new(
        place.map_or(0, |node| node.start),
        Problem::Unfaithful,
    ))
}
