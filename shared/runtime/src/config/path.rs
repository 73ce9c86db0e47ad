//! A path that means the same wherever the process was started.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Visitor};

/// The name by which the reader knows the type and hands it a path that is already resolved.
pub(super) const FILE_PATH: &str = "lockflight::FilePath";

/// A path in a configuration. A relative one in the file starts at the folder of the file; one in the environment or a flag where
/// the process was started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// Wraps a path as it is.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathVisitor;
        impl Visitor<'_> for PathVisitor {
            type Value = FilePath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path")
            }
            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<FilePath, E> {
                if path.is_empty() {
                    return Err(E::custom("a path can't be empty"));
                }
                Ok(FilePath::new(path))
            }
        }
        deserializer.deserialize_newtype_struct(FILE_PATH, PathVisitor)
    }
}
