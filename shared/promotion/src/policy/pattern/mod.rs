//! Patterns: which directories hold components, and which targets a component's lists mean.
//!
//! They are written in Go's syntax, run on a linear-time engine, and compiled within bounds, so that no policy can hold up a
//! worker.

mod ast;
mod class;
mod go;

use std::fmt;

use regex::{Regex, RegexBuilder};

use ast::{Ast, Ending};

/// The longest pattern, in bytes.
pub(super) const MAX_PATTERN_BYTES: usize = 1000;
/// What one compiled pattern may take, in bytes. It bounds the time to compile as well.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// Enough for what [`ast`] makes of a pattern whose groups are nested as deep as may be.
const MAX_COMPILED_NESTING: u32 = 2000;

/// Why a pattern is refused. It never repeats the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}{}", self.place())]
pub struct PatternError {
    problem: &'static str,
    /// The character, from 0; none if it is the pattern as a whole.
    at: Option<usize>,
}

impl PatternError {
    fn place(&self) -> String {
        self.at
            .map(|at| format!(" (at character {})", at + 1))
            .unwrap_or_default()
    }
}

fn parse(pattern: &str) -> Result<Ast, PatternError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(PatternError {
            problem: "the pattern is longer than 1000 bytes",
            at: None,
        });
    }
    go::parse(pattern)
}

fn build(regex: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(regex)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .nest_limit(MAX_COMPILED_NESTING)
        .build()
        .map_err(|error| PatternError {
            problem: match error {
                regex::Error::CompiledTooBig(_) => "the pattern comes to more than 1 MiB when it is compiled",
                _ => "the pattern names a Unicode class that does not exist, or is too nested",
            },
            at: None,
        })
}

/// Checks a pattern that is only kept.
pub(super) fn check(pattern: &str) -> Result<(), PatternError> {
    let mut regex = String::new();
    parse(pattern)?.emit(&mut regex);
    build(&regex).map(|_| ())
}

/// Which directories of a repository hold components: a pattern that is matched from the start of a path, over whole
/// segments.
#[derive(Clone)]
pub struct SourcePattern {
    /// As it was written, without a slash at its end.
    text: String,
    ends_with_slash: bool,
    /// `^(source)/`
    source: Regex,
    /// `^(source)/(component)/`
    component: Regex,
}

/// Where a path meets a [`SourcePattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceMatch<'a> {
    /// The pattern does not match.
    None,
    /// It matches, but the path lies above or beside the components.
    NoComponent,
    /// The path lies in a component.
    Component {
        /// The directory that matches the pattern, without a slash at its end.
        source: &'a str,
        /// The component's name: the segments below it.
        name: &'a str,
    },
}

impl SourcePattern {
    /// Compiles a pattern in Go's syntax for components of `depth` segments.
    ///
    /// # Errors
    /// When Go refuses the pattern, or it is too large.
    pub fn compile(pattern: &str, depth: usize) -> Result<Self, PatternError> {
        let (ast, ending) = parse(pattern)?.without_final_slash();
        let mut body = String::new();
        ast.emit(&mut body);
        let more = depth.saturating_sub(1);
        Ok(Self {
            text: without_slash(pattern).to_owned(),
            ends_with_slash: ending == Ending::Slash,
            source: build(&format!("^(?:{body})/"))?,
            component: build(&format!("^({body})/([^/]+(?:/[^/]+){{{more}}})/"))?,
        })
    }

    /// The pattern as it was written, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every alternative was written with a slash at its end.
    #[must_use]
    pub const fn ends_with_slash(&self) -> bool {
        self.ends_with_slash
    }

    /// Where `path` meets the pattern. Only the path's directories decide, so every file of a directory has the same answer.
    #[must_use]
    pub fn locate<'a>(&self, path: &'a str) -> SourceMatch<'a> {
        if let Some(found) = self.component.captures(path)
            && let (Some(source), Some(name)) = (found.get(1), found.get(2))
        {
            return SourceMatch::Component {
                source: source.as_str(),
                name: name.as_str(),
            };
        }
        if self.source.is_match(path) {
            SourceMatch::NoComponent
        } else {
            SourceMatch::None
        }
    }
}

impl fmt::Debug for SourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourcePattern({:?})", self.component.as_str())
    }
}

impl PartialEq for SourcePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.component.as_str() == other.component.as_str()
    }
}

impl Eq for SourcePattern {}

/// One entry of a component's allow or block list.
#[derive(Clone)]
pub(super) struct TargetPattern {
    anywhere: Regex,
    from_start: Regex,
}

impl TargetPattern {
    pub(super) fn compile(pattern: &str) -> Result<Self, PatternError> {
        let mut body = String::new();
        parse(pattern)?.emit(&mut body);
        Ok(Self {
            anywhere: build(&body)?,
            from_start: build(&format!("^(?:{body})"))?,
        })
    }

    /// Whether the entry means `component`, a path below the configured `target`; both without a slash at the end, and
    /// `target_with_slash` with one.
    ///
    /// Telefonistka looks for the pattern anywhere in the configured target; its documentation promises a match with the
    /// component's path. Either will do. The second is anchored at the start, so that a component whose name happens to hold
    /// a list's word is not caught by it.
    pub(super) fn means(&self, target: &str, target_with_slash: &str, component: &str) -> bool {
        self.anywhere.is_match(target)
            || self.anywhere.is_match(target_with_slash)
            || self.from_start.is_match(component)
    }
}

impl fmt::Debug for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetPattern({:?})", self.anywhere.as_str())
    }
}

impl PartialEq for TargetPattern {
    fn eq(&self, other: &Self) -> bool {
        self.anywhere.as_str() == other.anywhere.as_str()
    }
}

impl Eq for TargetPattern {}

/// The pattern's text without a slash at its end, however that is escaped. A text for people and ids, not to be compiled.
fn without_slash(pattern: &str) -> &str {
    let Some(bare) = pattern.strip_suffix('/') else {
        return pattern;
    };
    let backslashes = bare.len() - bare.trim_end_matches('\\').len();
    if backslashes % 2 == 1 {
        bare.strip_suffix('\\').unwrap_or(bare)
    } else {
        bare
    }
}

#[cfg(test)]
mod tests;
