//! One typed configuration out of four sources, each stronger than the one before: the defaults of the type, a TOML file, the
//! environment, and what was given on the command line.
//!
//! - A variable of the environment is a key in capitals after `LOCKFLIGHT_`, sections parted by two underscores:
//!   `LOCKFLIGHT_HTTP__LISTEN` is `http.listen`. Its text is read as what the key wants: a number, `true`, a list (`a, b` or
//!   `["a", "b"]`), a table (`{ a = 1 }`).
//! - A key that nothing knows is an error that says where it stands and what was perhaps meant. All such keys are reported at once.
//!   This holds for every struct without `deny_unknown_fields` too, but not for what `#[serde(flatten)]` or an untagged or internally
//!   tagged enum hides from the reader; keep those out of configuration.
//! - A field of type [`Secret`] named `token` is set by `token_file`. See [`Secret`].
//! - Relative paths of [`Secret`]s and [`FilePath`]s in the file start at the folder of the file.

mod de;
pub mod duration;
mod entries;
mod path;
mod secret;
mod suggest;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use path::FilePath;
pub use secret::{Secret, SecretError};
pub use tree::Origin;

/// What every variable of the environment begins with.
pub const ENV_PREFIX: &str = "LOCKFLIGHT_";

/// The variable that names the configuration file itself; it is not a key.
pub const FILE_VARIABLE: &str = "LOCKFLIGHT_CONFIG";

/// Where a configuration comes from, weakest first. The defaults are those of the type.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file. It has to be there.
    pub file: Option<PathBuf>,
    /// Variables of the environment; those that don't begin with [`ENV_PREFIX`] are left alone. See [`process_env`].
    pub env: Vec<(String, String)>,
    /// What flags say: dotted keys (`http.listen`) and their values, read as those of the environment are.
    pub overrides: Vec<(String, String)>,
}

/// A configuration, and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// The source of each key that was set, by its dotted name. What is not here is a default.
    pub origins: BTreeMap<String, Origin>,
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A variable of the environment is not UTF-8.
    #[error("the environment variable {name} is not UTF-8")]
    NotUnicode {
        /// Its name.
        name: String,
    },
    /// What was found is not a configuration. Each problem is a line of the message.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; none for what is missing altogether.
    pub origin: Option<Origin>,
    /// The dotted key that it is about; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what to do, without a value of a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.message)
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The variables of this process that begin with [`ENV_PREFIX`].
///
/// # Errors
/// When one of them is not UTF-8.
pub fn process_env() -> Result<Vec<(String, String)>, ConfigError> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(ENV_PREFIX).then_some((name, value))
        })
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_bytes) => Err(ConfigError::NotUnicode { name }),
        })
        .collect()
}

/// Reads every source, lays them over each other, and checks the result against `T`.
///
/// Secrets are not read yet, only found: see [`Secret::load`].
///
/// # Errors
/// When the file can't be read or is not TOML, when a key is unknown, missing or of the wrong type, and when a secret stands
/// where it may be seen.
pub fn load<T: DeserializeOwned>(sources: Sources) -> Result<Loaded<T>, ConfigError> {
    let mut table = match &sources.file {
        Some(path) => tree::from_file(path)?,
        None => tree::Table::new(),
    };
    let mut problems = Vec::new();
    tree::merge(&mut table, tree::from_env(sources.env, &mut problems));
    tree::merge(&mut table, tree::from_overrides(sources.overrides, &mut problems));
    let origins = tree::origins(&table);
    let base = sources.file.as_deref().and_then(Path::parent).map(Arc::from);
    match de::read(table, base, &mut problems) {
        Some(config) if problems.is_empty() => Ok(Loaded { config, origins }),
        _ => Err(ConfigError::Invalid(problems)),
    }
}

#[cfg(test)]
mod tests;
