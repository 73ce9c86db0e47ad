//! Paths inside a repository.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// A path inside a repository: UTF-8, `/` between components, no component that git or a file system could mistake.
///
/// The root of the repository is the empty path, made by [`PathInRepo::root`]. A path never ends with a slash. Joining it to
/// a file-system path is nowhere needed: all work is done in the object database.
///
/// A copy shares the text: a large plan names each of its paths many times.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PathInRepo(Arc<str>);

/// A path that is refused, with the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a path that Lockflight may touch: {rule}")]
pub struct InvalidPath {
    /// What was given, cut to 200 characters.
    pub path: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl PathInRepo {
    /// The root of the repository.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks `path`. One slash at its end is taken off; the empty path and `.` are the root.
    ///
    /// # Errors
    /// When it is absolute, over-long, has an empty, `.`, `..` or `.git` component (in any of the spellings that a file
    /// system may take for it), a backslash, or a control or bidirectional-formatting character.
    pub fn parse(path: impl AsRef<str>) -> Result<Self, InvalidPath> {
        let given = path.as_ref();
        let refuse = |rule| {
            Err(InvalidPath {
                path: given.chars().take(200).collect(),
                rule,
            })
        };
        if given.is_empty() || given == "." || given == "./" {
            return Ok(Self::root());
        }
        let path = given.strip_suffix('/').unwrap_or(given);
        if path.len() > 4096 {
            return refuse("it is longer than 4096 bytes");
        }
        if path.starts_with('/') || path.is_empty() {
            return refuse("it is absolute");
        }
        for component in path.split('/') {
            if component.is_empty() {
                return refuse("a component is empty");
            }
            if component == "." || component == ".." {
                return refuse("a component is `.` or `..`");
            }
            if is_dot_git(component) {
                return refuse(
                    "a component is `.git`, or is spelt so that a file system may take it for `.git`",
                );
            }
        }
        if path.chars().any(|c| c.is_control() || c == '\\' || is_bidi(c)) {
            return refuse("it has a backslash, or a control or bidirectional-formatting character");
        }
        Ok(Self(path.into()))
    }

    /// The path as text, without a slash at either end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root of the repository.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its components, from the top; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|c| !c.is_empty())
    }

    /// The last component; none for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.components().last()
    }

    /// The path one level up; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(
            self.0
                .rsplit_once('/')
                .map_or_else(Self::root, |(parent, _)| Self(parent.into())),
        )
    }

    /// This path followed by `tail`.
    #[must_use]
    pub fn join(&self, tail: &Self) -> Self {
        match (self.is_root(), tail.is_root()) {
            (true, _) => tail.clone(),
            (_, true) => self.clone(),
            _ => Self([&*self.0, "/", &*tail.0].concat().into()),
        }
    }

    /// Whether this path is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(other.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Spellings that some file system reads as `.git`: case, NTFS short and stream names, trailing dots and spaces, and the
/// characters that HFS+ ignores. The list is that of git's own `verify_path` (path.c, utf8.c).
fn is_dot_git(component: &str) -> bool {
    let visible: String = component
        .chars()
        .filter(|c| {
            !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
        })
        .collect();
    let base = visible.split(':').next().unwrap_or_default();
    let base = base.trim_end_matches(['.', ' ']).to_lowercase();
    base == ".git" || base == "git~1"
}

/// Characters that change the direction of the text after them, so that a name reads as another.
const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for PathInRepo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PathInRepo {
    type Error = InvalidPath;
    fn try_from(value: String) -> Result<Self, InvalidPath> {
        Self::parse(value)
    }
}

impl From<PathInRepo> for String {
    fn from(value: PathInRepo) -> Self {
        value.0.as_ref().to_owned()
    }
}

impl Serialize for PathInRepo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_repository_or_look_like_git_are_refused() {
        for bad in [
            "/a",
            "//",
            "a//b",
            "a/../b",
            "..",
            "a/./b",
            ".git",
            "a/.GIT/config",
            "a/git~1",
            ".git./x",
            ".git::$INDEX/x",
            "a/.g\u{200c}it",
            "a\\b",
            "a\nb",
            "a/\u{202e}b",
            "a/\0",
        ] {
            assert!(PathInRepo::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ordinary_names_are_kept_as_they_are() {
        for good in [
            "a",
            "a b/ü",
            ".gitignore",
            ".github/workflows",
            "a/.gitkeep",
            "c++/a+b",
            "日本/語",
        ] {
            assert_eq!(PathInRepo::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(PathInRepo::parse("a/b/").unwrap().as_str(), "a/b");
    }

    #[test]
    fn within_looks_at_whole_components() {
        let path = |p: &str| PathInRepo::parse(p).unwrap();
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert!(path("ab").is_within(&PathInRepo::root()));
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(PathInRepo::root()));
    }
}
