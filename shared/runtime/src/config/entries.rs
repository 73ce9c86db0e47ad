//! The keys and values of one table, and the values of one list, as the reader meets them.

use std::collections::BTreeMap;
use std::collections::btree_map::IntoIter;

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess, SeqAccess};

use super::Problem;
use super::de::{ReadError, Reader, Reading};
use super::suggest::closest;
use super::tree::{Entry, Node, Origin, Table, join};

/// The values of a list.
pub(super) struct Items<'r>(pub(super) std::vec::IntoIter<Reading<'r>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        let Some(item) = self.0.next() else {
            return Ok(None);
        };
        let (key, origin) = (item.key.clone(), item.node.origin.clone());
        seed.deserialize(item)
            .map(Some)
            .map_err(|e| e.at(&key, Some(&origin)))
    }
}

/// The keys and values of a table.
pub(super) struct Entries<'r> {
    rest: IntoIter<String, Field>,
    next: Option<Reading<'r>>,
    prefix: String,
    reader: &'r Reader,
}

struct Field {
    node: Node,
    names_file: bool,
}

impl<'r> Entries<'r> {
    /// Any key is welcome.
    pub(super) fn of_map(table: Table, prefix: &str, reader: &'r Reader) -> Self {
        let field = |(key, entry): (String, Entry)| {
            let field = Field {
                node: entry.node,
                names_file: false,
            };
            (key, field)
        };
        let fields: BTreeMap<String, Field> = table.into_iter().map(field).collect();
        Self {
            rest: fields.into_iter(),
            next: None,
            prefix: prefix.to_owned(),
            reader,
        }
    }

    /// Only the fields of the struct are welcome, and `x_file` for a field `x`.
    pub(super) fn of_struct(
        table: Table,
        known: &'static [&'static str],
        prefix: &str,
        reader: &'r Reader,
    ) -> Result<Self, ReadError> {
        let mut fields: BTreeMap<String, Field> = BTreeMap::new();
        for (key, Entry { key: at, node }) in table {
            let (name, names_file) = if known.contains(&key.as_str()) {
                (key, false)
            } else if let Some(name) = key.strip_suffix("_file").filter(|name| known.contains(name)) {
                (name.to_owned(), true)
            } else {
                reader.unknown.borrow_mut().push(unknown(&key, at, known, prefix));
                continue;
            };
            // `x` comes before `x_file`. The stronger source wins; within one source they would contradict each other.
            match fields.get(&name) {
                Some(other) if other.node.origin.rank() > node.origin.rank() => continue,
                Some(other) if other.node.origin.rank() == node.origin.rank() => {
                    let key = join(prefix, &name);
                    let message = format!("set either {key} or {key}_file, not both");
                    return Err(ReadError::custom(message).at(&key, Some(&node.origin)));
                }
                _ => {}
            }
            fields.insert(name, Field { node, names_file });
        }
        Ok(Self {
            rest: fields.into_iter(),
            next: None,
            prefix: prefix.to_owned(),
            reader,
        })
    }
}

fn unknown(key: &str, at: Origin, known: &[&str], prefix: &str) -> Problem {
    let near = closest(key, known).map(str::to_owned).or_else(|| {
        // `tokn_file` is near to no field, but `tokn` may be.
        let stem = key.strip_suffix("_file")?;
        closest(stem, known).map(|name| format!("{name}_file"))
    });
    let hint = match near {
        Some(near) => meant(Some(join(prefix, &near))),
        None if known.is_empty() => String::new(),
        None => format!("; the keys here are {}", known.join(", ")),
    };
    let key = join(prefix, key);
    Problem {
        message: format!("{key}: unknown key{hint}"),
        origin: Some(at),
        key,
    }
}

/// The end of a message that guesses.
pub(super) fn meant(near: Option<String>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        let Some((key, field)) = self.rest.next() else {
            return Ok(None);
        };
        let dotted = join(&self.prefix, &key);
        let origin = field.node.origin.clone();
        let name: StringDeserializer<ReadError> = key.into_deserializer();
        let name = seed.deserialize(name).map_err(|e| e.at(&dotted, Some(&origin)))?;
        self.next = Some(Reading {
            node: field.node,
            key: dotted,
            names_file: field.names_file,
            reader: self.reader,
        });
        Ok(Some(name))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let Some(reading) = self.next.take() else {
            return Err(ReadError::custom("a value was asked for before its key"));
        };
        let (key, origin) = (reading.key.clone(), reading.node.origin.clone());
        seed.deserialize(reading).map_err(|e| e.at(&key, Some(&origin)))
    }
}
