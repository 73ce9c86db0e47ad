//! Reads the tree as the type that is wanted, and remembers everything that is wrong.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer as _, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::entries::{Entries, Items, meant};
use super::path::FILE_PATH;
use super::secret::{AS_VALUE, IN_FILE, SECRET};
use super::suggest::closest;
use super::tree::{Node, Origin, Table, Value, from_inline, join, resolve};
use super::{ENV_PREFIX, Problem};

/// Reads `table` as a `T`. What is wrong goes to `problems`; unknown keys alone still give a value.
pub(super) fn read<T: DeserializeOwned>(
    table: Table,
    base: Option<Arc<Path>>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let reader = Reader {
        base,
        unknown: RefCell::default(),
    };
    let root = Root {
        table,
        reader: &reader,
    };
    let read = T::deserialize(root);
    problems.extend(reader.unknown.into_inner());
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(error.into_problem());
            None
        }
    }
}

/// What stays the same over the whole tree.
pub(super) struct Reader {
    /// The folder of the configuration file.
    base: Option<Arc<Path>>,
    /// What was found and is not known.
    pub(super) unknown: RefCell<Vec<Problem>>,
}

/// The error on its way up to where its place is known.
#[derive(Debug)]
pub(super) struct ReadError {
    message: String,
    /// The field that is missing from the struct that the error comes from.
    missing: Option<&'static str>,
    place: Option<(String, Option<Origin>)>,
}

impl ReadError {
    pub(super) fn at(mut self, key: &str, origin: Option<&Origin>) -> Self {
        if self.place.is_none() {
            let key = match self.missing {
                Some(field) => join(key, field),
                None => key.to_owned(),
            };
            // What is missing stands nowhere.
            let origin = if self.missing.is_some() {
                None
            } else {
                origin.cloned()
            };
            self.place = Some((key, origin));
        }
        self
    }

    fn into_problem(self) -> Problem {
        let (key, origin) = self.place.unwrap_or_default();
        let message = if self.missing.is_some() {
            let variable = key.replace('.', "__").to_ascii_uppercase();
            format!(
                "{key} is missing; set it in the configuration file, or {ENV_PREFIX}{variable} in the environment"
            )
        } else if key.is_empty() {
            self.message
        } else {
            format!("{key}: {}", self.message)
        };
        Problem { origin, key, message }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            missing: None,
            place: None,
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            missing: Some(field),
            ..Self::custom("missing")
        }
    }
}

/// The whole configuration.
struct Root<'r> {
    table: Table,
    reader: &'r Reader,
}

impl<'de> Deserializer<'de> for Root<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let entries = Entries::of_map(self.table, "", self.reader);
        visitor.visit_map(entries).map_err(|e| e.at("", None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let entries = Entries::of_struct(self.table, fields, "", self.reader)?;
        visitor.visit_map(entries).map_err(|e| e.at("", None))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// One value.
pub(super) struct Reading<'r> {
    pub(super) node: Node,
    /// The dotted key.
    pub(super) key: String,
    /// The key that was written was `key` and `_file`, so the value is the path of a file with a secret.
    pub(super) names_file: bool,
    pub(super) reader: &'r Reader,
}

impl Reading<'_> {
    /// Only a secret, an optional one or a list of them may be given by a file.
    fn in_place(&self) -> Result<(), ReadError> {
        if self.names_file {
            let message = format!("unknown key; `_file` is for secrets, and {} is none", self.key);
            return Err(ReadError::custom(message).at(&format!("{}_file", self.key), Some(&self.node.origin)));
        }
        Ok(())
    }

    fn placed<T>(&self, read: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
        read().map_err(|e| e.at(&self.key, Some(&self.node.origin)))
    }

    fn number<T: std::str::FromStr>(&self, expected: &str) -> Result<Option<T>, ReadError> {
        match &self.node.value {
            Value::Untyped(text) => match text.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(_odd) => Err(ReadError::custom(format!("{text:?} is not {expected}"))),
            },
            _ => Ok(None),
        }
    }

    fn secret_text(&self) -> Result<(&'static str, String), ReadError> {
        let own = self.key.rsplit('.').next().unwrap_or_default();
        let variable = self.key.replace('.', "__").to_ascii_uppercase();
        let (Value::Untyped(text) | Value::String(text)) = &self.node.value else {
            return Err(ReadError::custom(
                "a secret is a text; write the path of a file that holds it",
            ));
        };
        if self.names_file {
            let path = resolve(text, &self.node.origin, self.reader.base.as_deref());
            return match path.into_os_string().into_string() {
                Ok(_) if text.is_empty() => Err(ReadError::custom("the path is empty")),
                Ok(path) => Ok((IN_FILE, path)),
                Err(_bytes) => Err(ReadError::custom("the path is not UTF-8")),
            };
        }
        let seen_by = match &self.node.origin {
            Origin::Env(_) => return Ok((AS_VALUE, text.clone())),
            Origin::File { .. } => "a configuration file is copied and shown around",
            Origin::Flag(_) => "every user of the machine can see flags",
        };
        Err(ReadError::custom(format!(
            "a secret must not stand here, since {seen_by}; write it to a file and set {own}_file to its path, \
             or set {ENV_PREFIX}{variable} in the environment"
        )))
    }

    fn list(self) -> Result<Vec<Self>, ReadError> {
        let items = match self.node.value {
            Value::Array(items) => items,
            Value::Untyped(text) => {
                let origin = &self.node.origin;
                if text.trim_start().starts_with('[') {
                    match from_inline(&text, origin) {
                        Some(Value::Array(items)) => items,
                        _ => {
                            return Err(ReadError::custom(format!("{text:?} is not a list"))
                                .at(&self.key, Some(origin)));
                        }
                    }
                } else {
                    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                    let node = |part: &str| Node {
                        origin: origin.clone(),
                        value: Value::Untyped(part.to_owned()),
                    };
                    parts.map(node).collect()
                }
            }
            other => {
                let error = ReadError::invalid_type(unexpected(&other), &"a list");
                return Err(error.at(&self.key, Some(&self.node.origin)));
            }
        };
        Ok(items
            .into_iter()
            .enumerate()
            .map(|(index, node)| Self {
                node,
                key: format!("{}[{index}]", self.key),
                names_file: self.names_file,
                reader: self.reader,
            })
            .collect())
    }

    fn table(&mut self) -> Option<Table> {
        if let Value::Untyped(text) = &self.node.value
            && text.trim_start().starts_with('{')
            && let Some(value) = from_inline(text, &self.node.origin)
        {
            self.node.value = value;
        }
        match &mut self.node.value {
            Value::Table(table) => Some(std::mem::take(table)),
            _ => None,
        }
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Untyped(text) | Value::String(text) => Unexpected::Str(text),
        Value::Integer(number) => {
            i64::try_from(*number).map_or(Unexpected::Other("a huge number"), Unexpected::Signed)
        }
        Value::Float(number) => Unexpected::Float(*number),
        Value::Boolean(truth) => Unexpected::Bool(*truth),
        Value::Datetime(_) => Unexpected::Other("a date"),
        Value::Array(_) => Unexpected::Other("a list"),
        Value::Table(_) => Unexpected::Other("a table"),
    }
}

/// Methods for numbers: untyped text is parsed as the number that is wanted.
macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $expected:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.in_place()?;
            match self.placed(|| self.number::<$type>($expected))? {
                Some(number) => self.placed(|| visitor.$visit(number)),
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Reading<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ReadError> {
        self.in_place()?;
        match &self.node.value {
            Value::Array(_) => return self.deserialize_seq(visitor),
            Value::Table(_) => return self.deserialize_map(visitor),
            _ => {}
        }
        let value = std::mem::replace(&mut self.node.value, Value::Boolean(false));
        self.placed(|| match value {
            Value::Untyped(text) | Value::String(text) | Value::Datetime(text) => visitor.visit_string(text),
            Value::Integer(number) => match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => visitor.visit_i128(number),
            },
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(truth) => visitor.visit_bool(truth),
            Value::Array(_) | Value::Table(_) => Err(ReadError::custom("a list or a table")),
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.in_place()?;
        if let Value::Untyped(text) = &self.node.value {
            let truth = match text.trim().to_ascii_lowercase().as_str() {
                "true" => true,
                "false" => false,
                _ => {
                    return self
                        .placed(|| Err(ReadError::custom(format!("{text:?} is neither true nor false"))));
                }
            };
            return self.placed(|| visitor.visit_bool(truth));
        }
        self.deserialize_any(visitor)
    }

    numbers! {
        deserialize_i8 visit_i64 i64, "a whole number";
        deserialize_i16 visit_i64 i64, "a whole number";
        deserialize_i32 visit_i64 i64, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u64 u64, "a whole number from 0";
        deserialize_u16 visit_u64 u64, "a whole number from 0";
        deserialize_u32 visit_u64 u64, "a whole number from 0";
        deserialize_u64 visit_u64 u64, "a whole number from 0";
        deserialize_f32 visit_f64 f64, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if name == SECRET {
            return self.placed(|| {
                let (kind, text) = self.secret_text()?;
                let parts = [kind.to_owned(), text, self.node.origin.to_string()];
                visitor.visit_seq(SeqDeserializer::new(parts.into_iter()))
            });
        }
        if name == FILE_PATH
            && let Value::Untyped(text) | Value::String(text) = &self.node.value
        {
            self.in_place()?;
            let path = resolve(text, &self.node.origin, self.reader.base.as_deref());
            return self.placed(|| match path.to_str() {
                Some(_) if text.is_empty() => visitor.visit_str(""),
                Some(path) => visitor.visit_str(path),
                None => Err(ReadError::custom("the path is not UTF-8")),
            });
        }
        if name == FILE_PATH {
            return self.deserialize_any(visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let (key, origin) = (self.key.clone(), self.node.origin.clone());
        let items = Items(self.list()?.into_iter());
        visitor.visit_seq(items).map_err(|e| e.at(&key, Some(&origin)))
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ReadError> {
        self.in_place()?;
        match self.table() {
            Some(table) => {
                let entries = Entries::of_map(table, &self.key, self.reader);
                self.placed(|| visitor.visit_map(entries))
            }
            None => self.placed(|| Err(ReadError::invalid_type(unexpected(&self.node.value), &"a table"))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.in_place()?;
        match self.table() {
            Some(table) => {
                let entries = Entries::of_struct(table, fields, &self.key, self.reader)?;
                self.placed(|| visitor.visit_map(entries))
            }
            None => self.placed(|| Err(ReadError::invalid_type(unexpected(&self.node.value), &"a table"))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.in_place()?;
        self.placed(|| match &self.node.value {
            Value::Untyped(text) | Value::String(text) if variants.contains(&text.as_str()) => {
                let name: StrDeserializer<'_, ReadError> = text.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            Value::Untyped(text) | Value::String(text) => Err(ReadError::custom(format!(
                "{text:?} is not one of {}{}",
                variants.join(", "),
                meant(closest(text, variants).map(str::to_owned))
            ))),
            other => Err(ReadError::invalid_type(unexpected(other), &"a text")),
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct identifier ignored_any
    }
}
