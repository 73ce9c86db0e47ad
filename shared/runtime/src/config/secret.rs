//! Secrets, read from where others can't see them.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use tracing::warn;

/// The name by which the reader knows the type.
pub(super) const SECRET: &str = "lockflight::Secret";
/// What the reader says of a secret: that its text is the path of a file, or the value itself.
pub(super) const IN_FILE: &str = "file";
pub(super) const AS_VALUE: &str = "value";

/// No secret of ours is near that long; a path that was mixed up may be.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret of the configuration. It knows where its value is, and is read by [`load`](Self::load), again after a rotation.
///
/// A field `token` of this type is set by
/// - `token_file = "PATH"` in the configuration file, or the same as a flag; `token` itself is refused there,
/// - `LOCKFLIGHT_..TOKEN_FILE` in the environment, or `LOCKFLIGHT_..TOKEN` with the value itself.
///
/// `Debug` never shows a value.
#[derive(Clone)]
pub struct Secret {
    source: Source,
}

#[derive(Clone)]
enum Source {
    File {
        path: PathBuf,
        /// The warning about a file that anybody may read is given once.
        warned: Arc<AtomicBool>,
    },
    Value {
        origin: String,
        value: SecretString,
    },
}

/// A secret that can't be used. The message never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("the secret file {} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file holds something that is not a secret.
    #[error("the secret file {} {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The value that was given is empty.
    #[error("the secret from {origin} is empty")]
    Empty {
        /// Where it was given.
        origin: String,
    },
}

impl Secret {
    /// A secret in a file.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::File {
                path: path.into(),
                warned: Arc::default(),
            },
        }
    }

    /// A secret that is known already, such as one that was made up a moment ago. `origin` says where it is from, for messages.
    #[must_use]
    pub fn from_value(origin: impl Into<String>, value: SecretString) -> Self {
        Self {
            source: Source::Value {
                origin: origin.into(),
                value,
            },
        }
    }

    /// The file that holds it, if one does.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File { path, .. } => Some(path),
            Source::Value { .. } => None,
        }
    }

    /// Reads the value as it is now, without one line end at its end. It reads a small file, so it blocks for a moment.
    ///
    /// A file that every user of the machine may read is used, with a warning in the log.
    ///
    /// # Errors
    /// When the file can't be read, is longer than 64 KiB, is not UTF-8, or when the secret is empty.
    pub fn load(&self) -> Result<SecretString, SecretError> {
        match &self.source {
            Source::File { path, warned } => read(path, warned),
            Source::Value { origin, value } => {
                use secrecy::ExposeSecret as _;
                let trimmed = without_line_end(value.expose_secret());
                if trimmed.is_empty() {
                    return Err(SecretError::Empty {
                        origin: origin.clone(),
                    });
                }
                Ok(SecretString::from(trimmed))
            }
        }
    }
}

fn read(path: &Path, warned: &AtomicBool) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    let wrong = |problem| SecretError::Content {
        path: path.to_owned(),
        problem,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    let mut text = String::new();
    match file.take(MAX_BYTES + 1).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Err(wrong("is not UTF-8")),
        Err(error) => return Err(failed(error)),
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(wrong("is longer than 64 KiB; is it the right file?"));
    }
    let text = without_line_end(&text);
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    if mode & 0o004 != 0 && !warned.swap(true, Ordering::Relaxed) {
        warn!(
            path = %path.display(),
            "every user of this machine may read the secret file {}; take that away with `chmod o-rwx`",
            path.display()
        );
    }
    Ok(SecretString::from(text))
}

/// Editors and `echo` end a file with a line end that is no part of the secret. One is enough: a secret may end with spaces.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File { path, .. } => write!(f, "Secret(in {})", path.display()),
            Source::Value { origin, .. } => write!(f, "Secret(from {origin})"),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;
        impl<'de> Visitor<'de> for SecretVisitor {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, read by lockflight_runtime::config")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Secret, A::Error> {
                let mut part = || -> Result<String, A::Error> {
                    parts
                        .next_element()?
                        .ok_or_else(|| serde::de::Error::custom("a secret is described by three parts"))
                };
                let (kind, text, origin) = (part()?, part()?, part()?);
                Ok(if kind == IN_FILE {
                    Secret::from_file(text)
                } else {
                    Secret::from_value(origin, SecretString::from(text))
                })
            }
        }
        deserializer.deserialize_newtype_struct(SECRET, SecretVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::sync::atomic::AtomicUsize;

    use tracing_subscriber::layer::SubscriberExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn file(dir: &tempfile::TempDir, content: &[u8]) -> PathBuf {
        let path = dir.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    #[test]
    fn one_line_end_is_no_part_of_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        for (content, secret) in [
            ("abc", "abc"),
            ("abc\n", "abc"),
            ("abc\r\n", "abc"),
            ("abc \n\n", "abc \n"),
            (" a\nb\n", " a\nb"),
        ] {
            let loaded = Secret::from_file(file(&dir, content.as_bytes())).load().unwrap();
            assert_eq!(loaded.expose_secret(), secret, "{content:?}");
        }
    }

    #[test]
    fn a_rotated_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::from_file(file(&dir, b"old"));
        assert_eq!(secret.load().unwrap().expose_secret(), "old");
        file(&dir, b"new");
        assert_eq!(secret.load().unwrap().expose_secret(), "new");
    }

    #[test]
    fn what_can_not_be_a_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (content, problem) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"\xff\xfe", "is not UTF-8"),
            (&[b'x'; 70_000], "is longer than 64 KiB; is it the right file?"),
        ] {
            let failed = Secret::from_file(file(&dir, content)).load().unwrap_err();
            assert!(failed.to_string().ends_with(problem), "{failed}");
        }
        assert!(matches!(
            Secret::from_file(dir.path().join("absent")).load(),
            Err(SecretError::Read { .. })
        ));
        let empty = Secret::from_value("LOCKFLIGHT_TOKEN", SecretString::from("\n")).load();
        assert_eq!(
            empty.unwrap_err().to_string(),
            "the secret from LOCKFLIGHT_TOKEN is empty"
        );
    }

    #[test]
    fn debug_shows_where_a_secret_is_and_never_the_secret() {
        let value = Secret::from_value("LOCKFLIGHT_TOKEN", SecretString::from("hunter2"));
        assert_eq!(format!("{value:?}"), "Secret(from LOCKFLIGHT_TOKEN)");
        assert_eq!(
            format!("{:?}", Secret::from_file("/run/token")),
            "Secret(in /run/token)"
        );
    }

    /// Counts events.
    struct Count(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Count {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            assert_eq!(*event.metadata().level(), tracing::Level::WARN);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_file_that_everybody_may_read_is_warned_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, b"abc");
        let (secret, other) = (Secret::from_file(&path), Secret::from_file(&path));
        let count = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(Count(Arc::clone(&count)));
        // With a single subscriber in the process, tracing asks the thread that first meets an event whether anybody listens: that may be
        // a thread of another test, where nobody does. A second one makes it ask them all.
        let _another = tracing::Dispatch::new(tracing_subscriber::registry());
        tracing::subscriber::with_default(subscriber, || {
            assert!(other.load().is_ok());
            assert_eq!(count.load(Ordering::Relaxed), 0);
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            assert!(secret.load().is_ok());
            assert!(secret.clone().load().is_ok());
            assert_eq!(count.load(Ordering::Relaxed), 1);
        });
    }
}
