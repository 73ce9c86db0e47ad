//! The sources as trees of values that know where they stand.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{ConfigError, ENV_PREFIX, FILE_VARIABLE, Problem};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// In the environment, by the variable of this name.
    Env(String),
    /// By a flag, for this dotted key.
    Flag(String),
}

impl Origin {
    /// The stronger of two sources has the higher rank.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::File { .. } => 0,
            Self::Env(_) => 1,
            Self::Flag(_) => 2,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(key) => write!(f, "flag for {key}"),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text of the environment or a flag, whose type the reader decides.
    Untyped(String),
    String(String),
    /// As it was written, since a `u64` may be larger than TOML's own integers.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    /// Kept as text; nothing of ours is a date.
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Entry>;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) key: Origin,
    pub(super) node: Node,
}

/// Reads the file.
pub(super) fn from_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let at = |offset| position(path, &text, offset);
    let parsed = DeTable::parse(&text).map_err(|error| {
        ConfigError::Invalid(vec![Problem {
            origin: Some(at(error.span().map_or(0, |span| span.start))),
            key: String::new(),
            message: error.message().to_owned(),
        }])
    })?;
    Ok(table(parsed.into_inner(), &at))
}

/// Reads `text` as one TOML value; none when it is not.
pub(super) fn from_inline(text: &str, origin: &Origin) -> Option<Value> {
    // A line end would let the text bring keys of its own.
    if text.contains(['\n', '\r']) {
        return None;
    }
    let document = format!("value = {text}");
    let mut parsed = DeTable::parse(&document).ok()?.into_inner();
    let value = parsed.remove("value")?;
    Some(node(value, &|_| origin.clone()).value)
}

fn table(parsed: DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Table {
    parsed
        .into_iter()
        .map(|(key, value)| {
            let entry = Entry {
                key: at(key.span().start),
                node: node(value, at),
            };
            (key.into_inner().into_owned(), entry)
        })
        .collect()
}

fn node(parsed: toml::Spanned<DeValue<'_>>, at: &dyn Fn(usize) -> Origin) -> Node {
    let origin = at(parsed.span().start);
    let value = match parsed.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_huge) => Value::String(number.to_string()),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_odd) => Value::String(number.to_string()),
        },
        DeValue::Boolean(truth) => Value::Boolean(truth),
        DeValue::Datetime(time) => Value::Datetime(time.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| node(item, at)).collect()),
        DeValue::Table(inner) => Value::Table(table(inner, at)),
    };
    Node { origin, value }
}

fn position(path: &Path, text: &str, offset: usize) -> Origin {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    Origin::File {
        path: Arc::from(path),
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}

/// Reads the variables that begin with our prefix.
pub(super) fn from_env(variables: Vec<(String, String)>, problems: &mut Vec<Problem>) -> Table {
    let mut variables: Vec<_> = variables
        .into_iter()
        .filter(|(name, value)| name != FILE_VARIABLE && !is_service_link(name, value))
        .collect();
    // A section must not depend on the order of the environment.
    variables.sort();
    let mut table = Table::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let key: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
        insert(&mut table, key, Origin::Env(name.clone()), value, problems);
    }
    table
}

/// Reads what flags say.
pub(super) fn from_overrides(overrides: Vec<(String, String)>, problems: &mut Vec<Problem>) -> Table {
    let mut table = Table::new();
    for (key, value) in overrides {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        insert(&mut table, path, Origin::Flag(key), value, problems);
    }
    table
}

/// Kubernetes sets variables for each service of the namespace, and a service named `lockflight` makes them look like ours:
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn is_service_link(name: &str, value: &str) -> bool {
    let port_of = |name: &str| {
        name.rsplit_once("_PORT_")
            .and_then(|(_, rest)| rest.split('_').next())
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || (port_of(name)
            && ["TCP", "UDP", "SCTP"]
                .iter()
                .any(|protocol| name.contains(protocol)))
}

fn insert(table: &mut Table, key: Vec<String>, origin: Origin, value: String, problems: &mut Vec<Problem>) {
    let dotted = key.join(".");
    let mut at = table;
    let mut parts = key.into_iter().peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            at.insert(
                part,
                Entry {
                    key: origin.clone(),
                    node: Node {
                        origin,
                        value: Value::Untyped(value),
                    },
                },
            );
            return;
        }
        let entry = at.entry(part).or_insert_with(|| Entry {
            key: origin.clone(),
            node: Node {
                origin: origin.clone(),
                value: Value::Table(Table::new()),
            },
        });
        match &mut entry.node.value {
            Value::Table(inner) => at = inner,
            _ => {
                problems.push(Problem {
                    message: format!(
                        "{dotted} can't be set, since {} sets the whole of its section; use one of the two",
                        entry.node.origin
                    ),
                    key: dotted,
                    origin: Some(origin),
                });
                return;
            }
        }
    }
}

/// Lays `over` over `base`: tables become one, anything else is replaced.
pub(super) fn merge(base: &mut Table, over: Table) {
    for (key, entry) in over {
        match (base.get_mut(&key), entry.node.value) {
            (
                Some(Entry {
                    node:
                        Node {
                            value: Value::Table(inner),
                            ..
                        },
                    ..
                }),
                Value::Table(above),
            ) => merge(inner, above),
            (_, value) => {
                base.insert(
                    key,
                    Entry {
                        key: entry.key,
                        node: Node {
                            origin: entry.node.origin,
                            value,
                        },
                    },
                );
            }
        }
    }
}

/// The source of each value that is not a table, by its dotted key.
pub(super) fn origins(table: &Table) -> BTreeMap<String, Origin> {
    fn walk(table: &Table, prefix: &str, found: &mut BTreeMap<String, Origin>) {
        for (key, entry) in table {
            let key = join(prefix, key);
            match &entry.node.value {
                Value::Table(inner) => walk(inner, &key, found),
                _ => {
                    found.insert(key, entry.node.origin.clone());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(table, "", &mut found);
    found
}

/// A dotted key.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

/// The path of a file as `base` sees it.
pub(super) fn resolve(path: &str, origin: &Origin, base: Option<&Path>) -> PathBuf {
    match (origin, base) {
        (Origin::File { .. }, Some(base)) => base.join(path),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_that_kubernetes_sets_are_not_ours() {
        for (name, value) in [
            ("LOCKFLIGHT_SERVICE_HOST", "10.0.0.1"),
            ("LOCKFLIGHT_SERVICE_PORT", "80"),
            ("LOCKFLIGHT_SERVICE_PORT_HTTP", "80"),
            ("LOCKFLIGHT_PORT", "tcp://10.0.0.1:80"),
            ("LOCKFLIGHT_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("LOCKFLIGHT_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("LOCKFLIGHT_INGRESS_PORT_80_TCP_PROTO", "tcp"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in [
            ("LOCKFLIGHT_HTTP__LISTEN", "127.0.0.1:80"),
            ("LOCKFLIGHT_HTTP__PORT", "80"),
            ("LOCKFLIGHT_GITHUB__API_URL", "http://127.0.0.1:1"),
        ] {
            assert!(!is_service_link(name, value), "{name}");
        }
    }

    #[test]
    fn a_position_counts_characters() {
        let text = "a = 1\nü = 2\nöä = 3\n";
        let at = position(Path::new("f"), text, text.find('3').unwrap());
        assert_eq!(at.to_string(), "f:3:6");
        assert_eq!(position(Path::new("f"), text, 0).to_string(), "f:1:1");
    }

    #[test]
    fn inline_text_can_not_bring_keys_of_its_own() {
        let origin = Origin::Flag("a".to_owned());
        assert!(from_inline("[1, 2]", &origin).is_some());
        assert!(from_inline("1\nother = 2", &origin).is_none());
        assert!(from_inline("{", &origin).is_none());
    }
}
