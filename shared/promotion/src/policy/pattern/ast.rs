//! A regular expression as a tree, between Go's syntax and Rust's.

/// A regular expression. Capture groups are gone where they are not asked for, and flags have been pushed down to the leaves, so that any
/// part means the same wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ast {
    /// Matches the empty text.
    Empty,
    /// The slash between path segments.
    Slash,
    /// A piece of Rust's syntax that stands for itself, such as `a`, `[0-9]` or `(?i:b)`.
    Leaf(String),
    /// One after the other.
    Concat(Vec<Self>),
    /// One of these; the first that matches wins.
    Alternate(Vec<Self>),
    /// Several times.
    Repeat {
        inner: Box<Self>,
        min: u32,
        /// None: without end.
        max: Option<u32>,
        greedy: bool,
    },
    /// A capture group, and its name if it has one.
    Capture(Option<String>, Box<Self>),
}

/// One state of the compiled pattern, in bytes, with what leads to it.
const STATE_WEIGHT: usize = 32;
/// A class that holds most characters, such as `.` or `[^/]`: ten states or so, for UTF-8.
pub(super) const WIDE_WEIGHT: usize = 1_250;
/// A character of a class that is none of ASCII: it may begin a range, which takes several states.
const RANGE_WEIGHT: usize = 160;
/// A Unicode class has hundreds of ranges, and another one in the same brackets may add some.
const UNICODE_WEIGHT: usize = 54_000;
const MORE_UNICODE_WEIGHT: usize = 8_000;

fn is_beyond_ascii(text: &str) -> bool {
    let long_code = |(_, code): (usize, &str)| code.split_once('}').is_some_and(|(code, _)| code.len() > 5);
    !text.is_ascii()
        || text
            .match_indices(r"\x{")
            .map(|(at, _)| (at, text.get(at..).unwrap_or_default()))
            .any(long_code)
}

fn leaf_weight(text: &str) -> usize {
    let (text, folded) = match text.strip_prefix("(?i:") {
        // The letters of the other case may lie far off.
        Some(text) => (text, 4),
        None => (text, 1),
    };
    let mut plain = if text.starts_with('[') && is_beyond_ascii(text) {
        WIDE_WEIGHT
    } else {
        0
    };
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        // A character that stands for itself is written as a code, so that `\p{` is always a class, and `^` a negation.
        let code = rest
            .as_str()
            .strip_prefix("x{")
            .and_then(|rest| rest.split_once('}'));
        plain += match (c, code) {
            ('\\', Some((code, after))) => {
                rest = after.chars();
                if code.len() > 2 {
                    RANGE_WEIGHT
                } else {
                    STATE_WEIGHT
                }
            }
            ('^' | '.', _) => WIDE_WEIGHT,
            (c, _) if c.is_ascii() => STATE_WEIGHT,
            _ => RANGE_WEIGHT,
        };
    }
    let unicode = match text.matches(r"\p{").count() + text.matches(r"\P{").count() {
        0 => 0,
        classes => UNICODE_WEIGHT + (classes - 1) * MORE_UNICODE_WEIGHT,
    };
    plain * folded + unicode
}

/// How the alternatives of a pattern end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All with a slash.
    Slash,
    /// Some with a slash.
    Mixed,
    /// None with a slash, as far as can be seen.
    Other,
}

impl Ending {
    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Mixed }
    }
}

impl Ast {
    /// Writes it in Rust's syntax.
    pub(super) fn emit(&self, out: &mut String) {
        match self {
            Self::Empty => out.push_str("(?:)"),
            Self::Slash => out.push('/'),
            Self::Leaf(text) => out.push_str(text),
            Self::Concat(items) => {
                for item in items {
                    if matches!(item, Self::Alternate(_)) {
                        item.emit_group(out);
                    } else {
                        item.emit(out);
                    }
                }
            }
            Self::Alternate(items) => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push('|');
                    }
                    item.emit(out);
                }
            }
            Self::Repeat {
                inner,
                min,
                max,
                greedy,
            } => {
                inner.emit_group(out);
                match (min, max) {
                    (0, None) => out.push('*'),
                    (1, None) => out.push('+'),
                    (0, Some(1)) => out.push('?'),
                    (min, None) => out.push_str(&format!("{{{min},}}")),
                    (min, Some(max)) => out.push_str(&format!("{{{min},{max}}}")),
                }
                if !greedy {
                    out.push('?');
                }
            }
            Self::Capture(name, inner) => {
                out.push('(');
                if let Some(name) = name {
                    out.push_str(&format!("?P<{name}>"));
                }
                inner.emit(out);
                out.push(')');
            }
        }
    }

    fn emit_group(&self, out: &mut String) {
        out.push_str("(?:");
        self.emit(out);
        out.push(')');
    }

    /// The same pattern without the slash that its alternatives end with, where they do. What is left always wants a slash
    /// after it.
    pub(super) fn without_final_slash(&self) -> (Self, Ending) {
        match self {
            Self::Slash => (Self::Empty, Ending::Slash),
            Self::Empty | Self::Leaf(_) | Self::Capture(..) => (self.clone(), Ending::Other),
            Self::Alternate(items) => {
                let (items, endings): (Vec<_>, Vec<_>) = items.iter().map(Self::without_final_slash).unzip();
                let ending = endings.into_iter().reduce(Ending::and).unwrap_or(Ending::Other);
                (Self::Alternate(items), ending)
            }
            Self::Concat(items) => match items.split_last() {
                None => (Self::Empty, Ending::Other),
                Some((last, before)) if last.is_empty() && !before.is_empty() => {
                    Self::Concat(before.to_vec()).without_final_slash()
                }
                Some((last, before)) => last.final_slash_after(before),
            },
            Self::Repeat { .. } => self.final_slash_after(&[]),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Concat(items) => items.iter().all(Self::is_empty),
            Self::Slash | Self::Leaf(_) | Self::Alternate(_) | Self::Repeat { .. } | Self::Capture(..) => {
                false
            }
        }
    }

    /// [`Self::without_final_slash`] of `before` followed by this.
    fn final_slash_after(&self, before: &[Self]) -> (Self, Ending) {
        let followed_by = |tail: Self| {
            let mut items = before.to_vec();
            items.push(tail);
            Self::Concat(items)
        };
        let Self::Repeat {
            inner,
            min,
            max,
            greedy,
        } = self
        else {
            let (tail, ending) = self.without_final_slash();
            return (followed_by(tail), ending);
        };
        let (tail, ending) = inner.without_final_slash();
        if ending == Ending::Other || *max == Some(0) {
            return (followed_by(self.clone()), Ending::Other);
        }
        // X{n,m} is X{n-1,m-1} and then the last X, whose slash is taken off...
        let earlier = Self::Repeat {
            inner: inner.clone(),
            min: min.saturating_sub(1),
            max: max.map(|max| max.saturating_sub(1)),
            greedy: *greedy,
        };
        let some = followed_by(Self::Concat(vec![earlier, tail]));
        if *min > 0 {
            return (some, ending);
        }
        // ... and where it may be missing, what stands before it comes last.
        let (none, ending_without) = Self::Concat(before.to_vec()).without_final_slash();
        let choices = if *greedy {
            vec![some, none]
        } else {
            vec![none, some]
        };
        (Self::Alternate(choices), ending.and(ending_without))
    }

    /// What it may come to in bytes when it is compiled: more than it does
    /// (`what_a_pattern_weighs_is_at_least_what_it_comes_to`), and known before anything is compiled.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Empty | Self::Slash => STATE_WEIGHT,
            Self::Leaf(text) => leaf_weight(text),
            Self::Concat(items) => items
                .iter()
                .fold(0_usize, |sum, item| sum.saturating_add(item.weight())),
            Self::Alternate(items) => items.iter().fold(2 * STATE_WEIGHT, |sum, item| {
                sum.saturating_add(STATE_WEIGHT).saturating_add(item.weight())
            }),
            Self::Repeat { inner, min, max, .. } => {
                let copies = max.unwrap_or(*min).max(*min).max(1);
                let copies = usize::try_from(copies).unwrap_or(usize::MAX);
                // Between two copies there is a choice, and one around them all.
                let inner = inner.weight();
                inner
                    .saturating_add(STATE_WEIGHT)
                    .saturating_mul(copies - 1)
                    .saturating_add(inner)
                    .saturating_add(STATE_WEIGHT)
            }
            Self::Capture(_, inner) => inner.weight().saturating_add(2 * STATE_WEIGHT),
        }
    }

    /// Go's limit on repeats within repeats: their counts may multiply to at most `limit`.
    pub(super) fn repeats_within(&self, limit: u32) -> bool {
        match self {
            Self::Empty | Self::Slash | Self::Leaf(_) => true,
            Self::Concat(items) | Self::Alternate(items) => {
                items.iter().all(|item| item.repeats_within(limit))
            }
            Self::Repeat { inner, min, max, .. } => {
                // `*`, `+` and `?` do not multiply.
                let count = match (min, max) {
                    (_, Some(0)) => return true,
                    (0 | 1, None) | (0, Some(1)) => 1,
                    (min, max) => max.unwrap_or(*min),
                };
                count <= limit && inner.repeats_within(limit / count.max(1))
            }
            Self::Capture(_, inner) => inner.repeats_within(limit),
        }
    }
}
