//! YAML as a tree whose every node knows its place, read within a budget.
//!
//! Scalars keep their text as it was written, since what it means depends on the key: `yes` is a truth for one and a label for
//! another.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned};

use super::error::PolicyError;

/// The largest file, in bytes.
pub(super) const MAX_BYTES: usize = 256 * 1024;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 40_000;
const MAX_ALIASES: usize = 1_000;
const MAX_REPLAYED: usize = 40_000;

/// A place in the file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Mark {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    fn of(location: Location) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
        Self {
            line: number(location.line()),
            column: number(location.column()),
        }
    }

    pub(super) fn error(self, file: &str, message: impl Into<String>) -> PolicyError {
        PolicyError {
            file: file.to_owned(),
            line: self.line,
            column: self.column,
            message: message.into(),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A single value.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    /// What it says.
    pub(super) text: String,
    /// Whether it stands there without quotes, so that `true` may be a truth and `1` a number.
    pub(super) plain: bool,
}

impl Value {
    /// What it is called in messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(Scalar { plain: false, .. }) => "quoted text",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads `text`. None if it holds no value at all.
pub(super) fn parse(file: &str, text: &str) -> Result<Option<Node>, PolicyError> {
    if text.len() > MAX_BYTES {
        return Err(Mark::START.error(file, "the file is larger than 256 KiB; expected a policy"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 3,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_recorded_anchor_events: MAX_REPLAYED,
            max_recorded_anchor_bytes: 4 * MAX_BYTES,
            max_total_scalar_bytes: 4 * MAX_BYTES,
            max_merge_keys: MAX_ALIASES,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // What looks like a truth or a number is read from the text itself, below.
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<RawNode>(text, options) {
        Ok(node) => {
            let node = node.resolve(text);
            Ok(Some(node).filter(|node| !matches!(node.value, Value::Null)))
        }
        Err(Error::Eof { .. }) => Ok(None),
        Err(error) => {
            let mark = error.location().map_or(Mark::START, Mark::of);
            Err(mark.error(file, describe(&error)))
        }
    }
}

/// What is wrong, without a word of the file beyond the name of a key.
fn describe(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => describe(error),
        Error::DuplicateMappingKey { key, .. } => match key.as_deref().and_then(key_name) {
            Some(key) => format!("the key `{key}` stands here a second time; expected each key once"),
            None => "a key stands here a second time; expected each key once".to_owned(),
        },
        Error::MultipleDocuments { .. } => {
            "a second YAML document begins here; expected one, so merge them or remove the `---`".to_owned()
        }
        Error::UnknownAnchor { .. } => {
            "an alias (`*name`) names no anchor; expected `&name` before it in the file".to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias lies within its own anchor; expected a finite structure".to_owned()
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            "`<<` is given something else; expected a map or a list of maps".to_owned()
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => format!(
            "the file is too large or too nested when its aliases are expanded; expected at most {MAX_NODES} \
             values, {MAX_DEPTH} levels and {MAX_ALIASES} aliases"
        ),
        Error::ExternalMessage { msg, .. } if msg.contains("recursion limit") => {
            format!("the file is too nested; expected at most {MAX_DEPTH} levels")
        }
        // The parser's own texts are fixed, but for a single character in some.
        Error::ExternalMessage { msg, .. } => {
            let msg: String = msg.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).take(200).collect();
            format!("this is not valid YAML: {msg}")
        }
        _ => "this is not valid YAML; expected a value, a `- ` list or `key: value` lines with even indentation, \
              all brackets and quotes closed, and no tabs for indentation"
            .to_owned(),
    }
}

/// A key's name, if it is one that may be repeated in a message.
pub(super) fn key_name(key: &str) -> Option<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    ((1..=64).contains(&key.len()) && key.bytes().all(plain)).then_some(key)
}

/// A node as the parser gives it.
struct RawNode {
    /// Where the value is written down: for an alias, its anchor.
    location: Location,
    value: RawValue,
}

enum RawValue {
    Null,
    Text(String),
    /// The parser took it for a truth or a number; here is how it would write it.
    Typed(String),
    List(Vec<RawNode>),
    Map(Vec<(RawNode, RawNode)>),
}

impl RawNode {
    /// Puts back the text of what the parser took for truths and numbers.
    fn resolve(self, text: &str) -> Node {
        let span = self.location.span();
        let written = || {
            let start = usize::try_from(span.byte_offset()?).ok()?;
            let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
            text.get(start..end).map(str::trim)
        };
        let value = match self.value {
            RawValue::Null => Value::Null,
            RawValue::Text(value) => Value::Scalar(Scalar {
                // Text that the parser could have taken for nothing else may have been written in any style.
                plain: written().is_some_and(|written| written == value),
                text: value,
            }),
            RawValue::Typed(parsed) => {
                // With an explicit tag (`!!bool "yes"`) the text is more than the value.
                let plain =
                    written().filter(|w| !w.is_empty() && !w.starts_with(['!', '&', '"', '\'', '|', '>']));
                Value::Scalar(Scalar {
                    text: plain.map_or(parsed, str::to_owned),
                    plain: true,
                })
            }
            RawValue::List(items) => Value::List(items.into_iter().map(|item| item.resolve(text)).collect()),
            RawValue::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.resolve(text), value.resolve(text)))
                    .collect(),
            ),
        };
        Node {
            mark: Mark::of(self.location),
            value,
        }
    }
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<RawValue>::deserialize(deserializer)?;
        Ok(Self {
            location: spanned.defined,
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Typed(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<RawValue, E> {
        Ok(RawValue::Typed(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<RawValue, E> {
        Ok(RawValue::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Typed(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<RawValue, E> {
        Ok(RawValue::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawValue, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(RawValue::Map(map))
    }
}

#[cfg(test)]
mod tests;
