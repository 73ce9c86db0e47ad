//! Who owns which files: GitHub's CODEOWNERS.
//!
//! The rules are those of
//! <https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners>:
//! patterns are like those of gitignore, but without `!`, `[ ]` and `\#`; the last pattern that matches a file counts alone; a
//! pattern without owners takes a file away from those of earlier lines; a line that cannot be read is left out.

use std::fmt;

use crate::{ErrorClass, Login};

/// Where the file may lie. GitHub takes the first that there is.
pub const LOCATIONS: [&str; 3] = [".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"];

/// A larger file is not loaded by GitHub, in bytes.
pub const MAX_BYTES: usize = 3 * 1024 * 1024;

/// The most lines with a pattern that are taken: each file of a pull request is held against all of them.
pub const MAX_RULES: usize = 20_000;

/// The owners of a repository's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeOwners {
    rules: Vec<Rule>,
    skipped: Vec<Skipped>,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number, from 1.
    pub line: usize,
    /// The pattern as it is written.
    pub pattern: String,
    /// The owners; none takes the files away from earlier lines.
    pub owners: Vec<Owner>,
    segments: Vec<Segment>,
}

/// Who owns files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A person: `@login`.
    User(Login),
    /// A team: `@org/slug`.
    Team {
        /// The organization.
        org: Login,
        /// The team's slug.
        slug: String,
    },
    /// A person by a mail address of theirs.
    Email(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(login) => write!(f, "@{login}"),
            Self::Team { org, slug } => write!(f, "@{org}/{slug}"),
            Self::Email(address) => f.write_str(address),
        }
    }
}

/// A line that was left out, as GitHub leaves it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its number, from 1.
    pub line: usize,
    /// What GitHub does not take in it.
    pub why: &'static str,
}

/// The file is too large to be taken. That is not the same as a file without owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// GitHub does not load it.
    #[error(
        "CODEOWNERS has {bytes} bytes, and GitHub loads at most {MAX_BYTES}: make it smaller, with patterns for directories"
    )]
    Bytes {
        /// Its size.
        bytes: usize,
    },
    /// It has more lines with a pattern than are taken here.
    #[error(
        "CODEOWNERS has more than {MAX_RULES} lines with a pattern, and no more are taken: make them fewer, with patterns for directories"
    )]
    Rules,
}

impl TooLarge {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::User
    }
}

crate::classified!(TooLarge);

impl CodeOwners {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// When it is so large that GitHub does not load it, or has more than [`MAX_RULES`] lines with a pattern.
    pub fn parse(text: &str) -> Result<Self, TooLarge> {
        if text.len() > MAX_BYTES {
            return Err(TooLarge::Bytes { bytes: text.len() });
        }
        let mut found = Self::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, text) in (1..).zip(text.lines()) {
            match Rule::parse(line, text) {
                Ok(rule) => found.rules.extend(rule),
                Err(why) => found.skipped.push(Skipped { line, why }),
            }
            if found.rules.len() + found.skipped.len() > MAX_RULES {
                return Err(TooLarge::Rules);
            }
        }
        Ok(found)
    }

    /// The owners of the file at `path`, from the root, with `/` between the names. Empty if nobody owns it.
    #[must_use]
    pub fn owners(&self, path: &str) -> &[Owner] {
        self.rule(path).map_or(&[], |rule| &rule.owners)
    }

    /// The line that counts for the file at `path`; none if no line matches it.
    #[must_use]
    pub fn rule(&self, path: &str) -> Option<&Rule> {
        let names: Vec<&str> = path.split('/').collect();
        self.rules.iter().rev().find(|rule| rule.matches(&names))
    }

    /// The lines that were left out.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

/// What one name of a path, or some in a row, have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Any names, or none.
    Deep,
    /// One name.
    Name(Vec<Piece>),
}

/// A part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Any characters, or none.
    Many,
    /// One character.
    One,
    /// This character.
    Just(char),
}

impl Rule {
    /// Reads a line; none if there is nothing in it.
    fn parse(line: usize, text: &str) -> Result<Option<Self>, &'static str> {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let (pattern, rest) = text.split_at(end_of_pattern(text));
        let segments = segments(pattern)?;
        let owners = rest
            .split_ascii_whitespace()
            .take_while(|word| !word.starts_with('#'))
            .map(owner)
            .collect::<Result<_, _>>()?;
        Ok(Some(Self {
            line,
            pattern: pattern.to_owned(),
            owners,
            segments,
        }))
    }

    fn matches(&self, names: &[&str]) -> bool {
        fits(
            &self.segments,
            names.iter(),
            |segment| matches!(segment, Segment::Deep),
            |segment, name| match segment {
                Segment::Deep => true,
                Segment::Name(pieces) => is_name(pieces, name),
            },
        )
    }
}

/// Where the first white space is that no backslash stands before.
fn end_of_pattern(text: &str) -> usize {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate() {
        if byte.is_ascii_whitespace() && !escaped {
            return place;
        }
        escaped = byte == b'\\' && !escaped;
    }
    text.len()
}

/// Takes a pattern apart. What stands for a directory means everything below it.
fn segments(pattern: &str) -> Result<Vec<Segment>, &'static str> {
    if pattern.starts_with('!') {
        return Err("a pattern cannot be negated with `!`");
    }
    if pattern.starts_with("\\#") {
        return Err("a pattern cannot begin with `\\#`");
    }
    if pattern.contains(['[', ']']) {
        return Err("a pattern cannot have a range of characters in `[ ]`");
    }
    let any_name = || Segment::Name(vec![Piece::Many]);
    let (body, is_directory) = match pattern.strip_suffix('/') {
        Some(body) => (body, true),
        None => (pattern, false),
    };
    let (body, is_anchored) = match body.strip_prefix('/') {
        Some(body) => (body, true),
        None => (body, body.contains('/')),
    };
    let mut segments = Vec::new();
    if !is_anchored {
        segments.push(Segment::Deep);
    }
    let mut words = body.split('/').peekable();
    while let Some(word) = words.next() {
        let is_last = words.peek().is_none();
        match word {
            // Everything below, or with a slash behind it, below each directory there.
            "**" if is_last => segments.extend([any_name(), Segment::Deep]),
            "**" => segments.push(Segment::Deep),
            "*" => segments.push(any_name()),
            _ => {
                segments.push(Segment::Name(pieces(word)?));
                // It may be a directory. `*` stands for the files of one, and not for what lies deeper.
                if is_last && !is_directory {
                    segments.push(Segment::Deep);
                }
            }
        }
    }
    if is_directory {
        segments.extend([any_name(), Segment::Deep]);
    }
    Ok(segments)
}

fn pieces(word: &str) -> Result<Vec<Piece>, &'static str> {
    let mut pieces = Vec::with_capacity(word.len());
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '*' => Piece::Many,
            '?' => Piece::One,
            '\\' => Piece::Just(characters.next().ok_or("a pattern cannot end with a backslash")?),
            other => Piece::Just(other),
        });
    }
    Ok(pieces)
}

fn is_name(pieces: &[Piece], name: &str) -> bool {
    fits(
        pieces,
        name.chars(),
        |piece| matches!(piece, Piece::Many),
        |piece, character| match piece {
            Piece::Many | Piece::One => true,
            Piece::Just(wanted) => wanted == character,
        },
    )
}

/// Whether all of `text` fits `pattern`, in which some parts stand for any number of entries. It takes time in proportion to the
/// product of both at most: only the last such part has to be tried again.
fn fits<P, T: Iterator + Clone>(
    pattern: &[P],
    text: T,
    is_many: impl Fn(&P) -> bool,
    is_one: impl Fn(&P, &T::Item) -> bool,
) -> bool {
    let (mut at, mut here) = (0, text);
    // Behind the last part of any number: where the pattern goes on, and what that part has not reached yet.
    let mut retry: Option<(usize, T)> = None;
    loop {
        let mut rest = here.clone();
        let Some(entry) = rest.next() else {
            break;
        };
        match pattern.get(at) {
            Some(part) if is_many(part) => {
                at += 1;
                retry = Some((at, here.clone()));
            }
            Some(part) if is_one(part, &entry) => {
                at += 1;
                here = rest;
            }
            _ => match &mut retry {
                Some((behind, reached)) => {
                    reached.next();
                    at = *behind;
                    here = reached.clone();
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(is_many)
}

fn owner(word: &str) -> Result<Owner, &'static str> {
    const WRONG: &str = "an owner is `@login`, `@organization/team` or a mail address";
    if let Some(name) = word.strip_prefix('@') {
        let login = |name: &str| Login::parse(name).map_err(|_invalid| WRONG);
        return match name.split_once('/') {
            None => login(name).map(Owner::User),
            Some((org, slug)) if is_slug(slug) => Ok(Owner::Team {
                org: login(org)?,
                slug: slug.to_owned(),
            }),
            Some(_) => Err(WRONG),
        };
    }
    match word.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() && !host.contains('@') => {
            Ok(Owner::Email(word.to_owned()))
        }
        _ => Err(WRONG),
    }
}

fn is_slug(slug: &str) -> bool {
    !slug.is_empty()
        && slug
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests;
