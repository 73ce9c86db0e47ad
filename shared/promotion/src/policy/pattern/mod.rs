//! Patterns: which directories hold components, and which targets a component's lists mean.
//!
//! They are written in Go's syntax, run on a linear-time engine, and compiled within bounds, so that no policy can hold up a
//! worker.

mod ast;
mod class;
mod go;

use std::fmt;

use regex::{Regex, RegexBuilder};

use ast::{Ast, Ending, WIDE_WEIGHT};

/// The longest pattern, in bytes.
pub(super) const MAX_PATTERN_BYTES: usize = 1000;
/// The most that one pattern may come to when it is compiled, in bytes: of a list's entry, and of any other.
const MAX_ENTRY_BYTES: usize = 64 << 10;
const MAX_COMPILED_BYTES: usize = 256 << 10;
/// What a pattern may remember of the texts it has seen, to be faster with the next: little, for there are many patterns.
const MAX_MEMORY: usize = 16 << 10;

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
    parse_with(pattern, false)
}

fn parse_with(pattern: &str, captures: bool) -> Result<Ast, PatternError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(PatternError {
            problem: "the pattern is longer than 1000 bytes",
            at: None,
        });
    }
    go::parse(pattern, captures)
}

/// What the patterns of one file may come to together, in bytes. It bounds both the time to compile them and what they hold.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    is_spent: bool,
}

impl Budget {
    pub(super) const fn of_policy() -> Self {
        Self::of(16 << 20)
    }

    pub(super) const fn of_component() -> Self {
        Self::of(6 << 20)
    }

    const fn of(bytes: usize) -> Self {
        Self {
            left: bytes,
            is_spent: false,
        }
    }

    /// Whether a pattern was refused because of those before it: each that follows will be, too.
    pub(super) const fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Takes what one pattern comes to. Nothing may be compiled before.
    fn spend(&mut self, weight: usize, limit: usize) -> Result<(), PatternError> {
        let refused = |problem| Err(PatternError { problem, at: None });
        if weight > limit {
            return refused(if limit == MAX_ENTRY_BYTES {
                "the pattern comes to more than 64 KiB when it is compiled"
            } else {
                "the pattern comes to more than 256 KiB when it is compiled"
            });
        }
        match self.left.checked_sub(weight) {
            Some(left) if !self.is_spent => {
                self.left = left;
                Ok(())
            }
            _ => {
                self.is_spent = true;
                refused("the file's patterns up to here come to too much when they are compiled")
            }
        }
    }
}

fn build(regex: &str, limit: usize) -> Result<Regex, PatternError> {
    RegexBuilder::new(regex)
        .size_limit(limit)
        .dfa_size_limit(MAX_MEMORY)
        .nest_limit(MAX_COMPILED_NESTING)
        .build()
        .map_err(|error| PatternError {
            problem: match error {
                regex::Error::CompiledTooBig(_) => "the pattern comes to too much when it is compiled",
                _ => "the pattern names a Unicode class that does not exist, or is too nested",
            },
            at: None,
        })
}

/// A pattern whose groups are put into a text.
#[derive(Debug)]
pub(super) struct ReplacePattern(Regex);

impl ReplacePattern {
    /// Compiles a pattern that [`check`] has found right.
    pub(super) fn compile(pattern: &str) -> Result<Self, PatternError> {
        let ast = parse_with(pattern, true)?;
        let mut regex = String::new();
        ast.emit(&mut regex);
        // Groups cost some more than what it was checked for.
        build(&regex, 2 * MAX_COMPILED_BYTES).map(Self)
    }

    /// `text` with each match replaced, as Go's `ReplaceAllString`: what does not match stays as it is. None if nothing matches.
    pub(super) fn replace(&self, text: &str, replacement: &str) -> Option<String> {
        self.0
            .is_match(text)
            .then(|| self.0.replace_all(text, replacement).into_owned())
    }
}

/// Checks a pattern that is only kept.
pub(super) fn check(pattern: &str, budget: &mut Budget) -> Result<(), PatternError> {
    let ast = parse(pattern)?;
    budget.spend(ast.weight(), MAX_COMPILED_BYTES)?;
    let mut regex = String::new();
    ast.emit(&mut regex);
    build(&regex, MAX_COMPILED_BYTES).map(|_| ())
}

/// Which directories of a repository hold components: a pattern that is matched from the start of a path, over whole
/// segments.
#[derive(Clone)]
pub struct SourcePattern {
    /// As it was written, without a slash at its end.
    text: String,
    ends_with_slash: bool,
    /// `^source/`
    source: Regex,
    /// `^source/component/`, without groups: the engine would keep a large table for those.
    component: Regex,
    /// How many segments a component has.
    depth: usize,
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
        Self::compile_within(pattern, depth, &mut Budget::of_policy())
    }

    /// [`Self::compile`], for one of several in a file.
    pub(super) fn compile_within(
        pattern: &str,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Self, PatternError> {
        let (ast, ending) = parse(pattern)?.without_final_slash();
        let depth = depth.max(1);
        let more = depth - 1;
        // It is compiled twice.
        let weight = ast.weight().saturating_mul(2);
        let name = WIDE_WEIGHT.saturating_mul(depth.saturating_add(1));
        budget.spend(weight.saturating_add(name), 2 * MAX_COMPILED_BYTES)?;
        let mut body = String::new();
        ast.emit(&mut body);
        let build = |regex: &str| build(regex, MAX_COMPILED_BYTES);
        Ok(Self {
            text: without_slash(pattern).to_owned(),
            ends_with_slash: ending == Ending::Slash,
            source: build(&format!("^(?:{body})/"))?,
            component: build(&format!("^(?:{body})/[^/]+(?:/[^/]+){{{more}}}/"))?,
            depth,
        })
    }

    /// The pattern as it was written, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many path segments below it name a component, at least 1.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Whether every alternative was written with a slash at its end.
    #[must_use]
    pub const fn ends_with_slash(&self) -> bool {
        self.ends_with_slash
    }

    /// Where `path` meets the pattern. Only the path's directories decide, so every file of a directory has the same answer.
    #[must_use]
    pub fn locate<'a>(&self, path: &'a str) -> SourceMatch<'a> {
        if let Some((source, name)) = self.split(path) {
            return SourceMatch::Component { source, name };
        }
        if self.source.is_match(path) {
            SourceMatch::NoComponent
        } else {
            SourceMatch::None
        }
    }

    /// The source and the component that `path` lies in. No segment of the component's name holds a slash, so that their
    /// number says where it begins.
    fn split<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let both = self.component.find(path)?.as_str().strip_suffix('/')?;
        let (slash, _) = both.rmatch_indices('/').nth(self.depth - 1)?;
        Some((both.get(..slash)?, both.get(slash + 1..)?))
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
pub(super) struct TargetPattern(Regex);

impl TargetPattern {
    pub(super) fn compile(pattern: &str, budget: &mut Budget) -> Result<Self, PatternError> {
        let ast = parse(pattern)?;
        budget.spend(ast.weight(), MAX_ENTRY_BYTES)?;
        let mut body = String::new();
        ast.emit(&mut body);
        build(&body, MAX_ENTRY_BYTES).map(Self)
    }

    /// Whether the entry means `component`, a path below the configured `target`; both without a slash at the end, and
    /// `target_with_slash` with one.
    ///
    /// Telefonistka looks for the pattern anywhere in the configured target; its documentation promises a match with the
    /// component's path. Either will do. The second is anchored at the start, so that a component whose name happens to hold
    /// a list's word is not caught by it.
    pub(super) fn means(&self, target: &str, target_with_slash: &str, component: &str) -> bool {
        self.0.is_match(target)
            || self.0.is_match(target_with_slash)
            // What is found first is what begins first.
            || self.0.find(component).is_some_and(|found| found.start() == 0)
    }
}

impl fmt::Debug for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetPattern({:?})", self.0.as_str())
    }
}

impl PartialEq for TargetPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
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
