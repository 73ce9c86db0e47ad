//! The way to a key within a file.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest key path, in bytes.
const MAX_BYTES: usize = 1024;
/// The most segments of a key path.
const MAX_SEGMENTS: usize = 32;
/// The most digits of an index.
const MAX_DIGITS: usize = 6;

/// The way to a key within a file: `image.tag`, `containers[0].image`, `containers[name=app].image`, `"a.b/c".d`.
///
/// A name that has a character of `. [ ] = " ' *`, white space or a control character stands in double quotes, within which
/// `\"` and `\\` are those characters. `[0]` is the first item of a list, and `[name=app]` the only item that is a map whose
/// `name` is `app`; both sides of the `=` may be quoted. At most 1024 bytes and 32 segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPath(Vec<Segment>);

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Segment {
    /// A key of a map.
    Name(String),
    /// An item of a list, from 0.
    Index(usize),
    /// The item of a list whose `key` is `value`.
    Where { key: String, value: String },
}

/// A key path that is refused, with the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a key path: {rule}")]
pub struct InvalidKeyPath {
    /// What was given, cut to 200 characters.
    pub path: String,
    /// The rule that it breaks, or what was expected.
    pub rule: &'static str,
}

impl KeyPath {
    /// Reads `path`.
    ///
    /// # Errors
    /// When it is empty or over-long, or does not follow the syntax that the type describes.
    pub fn parse(path: impl AsRef<str>) -> Result<Self, InvalidKeyPath> {
        let path = path.as_ref();
        let refuse = |rule| InvalidKeyPath {
            path: path.chars().take(200).collect(),
            rule,
        };
        if path.len() > MAX_BYTES {
            return Err(refuse("it is longer than 1024 bytes"));
        }
        let segments = Reader { rest: path }.read().map_err(refuse)?;
        if segments.len() > MAX_SEGMENTS {
            return Err(refuse("it has more than 32 segments"));
        }
        Ok(Self(segments))
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The first `count` segments as text, for messages; `.` for the top of a file.
    pub(super) fn head(&self, count: usize) -> String {
        if count == 0 {
            return ".".to_owned();
        }
        Shown(self.0.get(..count).unwrap_or(&self.0)).to_string()
    }

    /// Whether this path is `other` or leads below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

struct Reader<'p> {
    rest: &'p str,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Vec<Segment>, &'static str> {
        let mut segments = Vec::new();
        if !self.rest.starts_with('[') {
            segments.push(Segment::Name(self.name()?));
        }
        while !self.rest.is_empty() {
            if self.eat('[') {
                segments.push(self.item()?);
            } else if self.eat('.') {
                segments.push(Segment::Name(self.name()?));
            } else {
                return Err("expected `.` or `[` after a segment");
            }
        }
        Ok(segments)
    }

    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn name(&mut self) -> Result<String, &'static str> {
        if self.eat('"') {
            return self.quoted();
        }
        let end = self.rest.find(special).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        if name.is_empty() {
            return Err(match rest.chars().next() {
                Some('*') => "a pattern is not possible; expected the name of a key",
                _ => {
                    "a segment is empty; expected a name, in double quotes if it has a character such as `.`"
                }
            });
        }
        match rest.chars().next() {
            None | Some('.' | '[' | ']' | '=') => Ok(name.to_owned()),
            Some(_) => Err("a name with such a character needs double quotes around it"),
        }
    }

    /// What follows an opening quote, up to the closing one.
    fn quoted(&mut self) -> Result<String, &'static str> {
        let mut name = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next() {
                None => return Err("a double quote is not closed"),
                Some('"') => break,
                Some('\\') => match chars.next() {
                    Some(c @ ('"' | '\\')) => name.push(c),
                    _ => return Err("a backslash in quotes may only stand before `\"` or `\\`"),
                },
                Some(c) if c.is_control() => return Err("it has a control character"),
                Some(c) => name.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(name)
    }

    /// What follows `[`.
    fn item(&mut self) -> Result<Segment, &'static str> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at_checked(digits).unwrap_or(("", self.rest));
        if digits > 0 && rest.starts_with(']') {
            if digits > MAX_DIGITS {
                return Err("an index has more than 6 digits");
            }
            if digits > 1 && number.starts_with('0') {
                return Err("an index begins with 0");
            }
            self.rest = rest;
            self.eat(']');
            let index = number.parse().map(Segment::Index);
            return index.ok().ok_or("an index is not a number");
        }
        let key = self.name()?;
        if !self.eat('=') {
            return Err("expected an index or `name=value` within `[` and `]`");
        }
        let value = if self.eat('"') {
            self.quoted()?
        } else {
            let end = self
                .rest
                .find([']', '[', '"', '\'', '='])
                .unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
            if value.is_empty() || value.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(
                    "a value after `=` is empty or has white space; expected double quotes around it",
                );
            }
            self.rest = rest;
            value.to_owned()
        };
        if !self.eat(']') {
            return Err("expected `]` after an item");
        }
        Ok(Segment::Where { key, value })
    }
}

/// Characters that stand in a name only within quotes.
fn special(c: char) -> bool {
    ".[]=\"'*".contains(c) || c.is_whitespace() || c.is_control()
}

/// Segments as they are written.
struct Shown<'p>(&'p [Segment]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |f: &mut fmt::Formatter<'_>, name: &str| {
            if name.is_empty() || name.contains(special) {
                write!(f, "\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
            } else {
                f.write_str(name)
            }
        };
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Name(n) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    name(f, n)?;
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Where { key, value } => {
                    f.write_str("[")?;
                    name(f, key)?;
                    f.write_str("=")?;
                    // A value may have dots without quotes.
                    if value.contains(|c| c != '.' && c != '*' && special(c)) || value.is_empty() {
                        write!(f, "\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))?;
                    } else {
                        f.write_str(value)?;
                    }
                    f.write_str("]")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(f)
    }
}

impl TryFrom<String> for KeyPath {
    type Error = InvalidKeyPath;
    fn try_from(value: String) -> Result<Self, InvalidKeyPath> {
        Self::parse(value)
    }
}

impl From<KeyPath> for String {
    fn from(value: KeyPath) -> Self {
        value.to_string()
    }
}
