//! Go's regular expressions (package regexp, RE2 syntax: <https://pkg.go.dev/regexp/syntax>), read into an [`Ast`].
//!
//! Both engines prefer the leftmost match and the first alternative and both lack look-around, so a pattern can be carried
//! over. The syntax differs: Go's `\d`, `\s`, `\w` and `\b` are ASCII; `[`, `&&`, `--` and `~~` mean nothing within a class; there
//! are `\Q..\E` and octal escapes; and Go refuses `a**`, repeats over 1000 and escapes that Rust knows. What Go refuses is
//! refused here too.

use std::collections::BTreeSet;

use super::PatternError;
use super::ast::Ast;

/// Groups within groups, as deep as that.
const MAX_NESTING: usize = 100;
/// Go's limit on a repeat count, and on the product of counts within counts.
const MAX_REPEAT: u32 = 1000;

#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_newline: bool,
    ungreedy: bool,
}

/// Reads `pattern`; its capture groups are kept only where they are asked for.
pub(super) fn parse(pattern: &str, captures: bool) -> Result<Ast, PatternError> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut parser = Parser {
        chars: &chars,
        at: 0,
        names: BTreeSet::new(),
        captures,
    };
    let ast = parser.alternation(&mut Flags::default(), 0)?;
    if parser.at < chars.len() {
        return Err(parser.error("`)` closes no group"));
    }
    Ok(ast)
}

pub(super) struct Parser<'a> {
    pub(super) chars: &'a [char],
    pub(super) at: usize,
    names: BTreeSet<String>,
    /// Whether capture groups are kept.
    captures: bool,
}

impl Parser<'_> {
    pub(super) const fn error(&self, problem: &'static str) -> PatternError {
        PatternError {
            problem,
            at: Some(self.at),
        }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let char = self.peek();
        if char.is_some() {
            self.at += 1;
        }
        char
    }

    pub(super) fn looking_at(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(offset, c)| self.chars.get(self.at + offset) == Some(&c))
    }

    /// Takes `text` if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.looking_at(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    /// Alternatives up to the end of the group or of the pattern. A change of flags lasts to the end of the group.
    fn alternation(&mut self, flags: &mut Flags, depth: usize) -> Result<Ast, PatternError> {
        if depth > MAX_NESTING {
            return Err(self.error("groups are nested more than 100 deep"));
        }
        let mut branches = Vec::new();
        let mut items = Vec::new();
        loop {
            match self.peek() {
                None | Some(')') => break,
                Some('|') => {
                    self.at += 1;
                    branches.push(Ast::Concat(std::mem::take(&mut items)));
                }
                Some(_) => {
                    let begin = self.at;
                    self.atom(&mut items, flags, depth)?;
                    self.repeats(&mut items, *flags, begin)?;
                }
            }
        }
        branches.push(Ast::Concat(items));
        Ok(match branches.pop() {
            Some(only) if branches.is_empty() => only,
            Some(last) => {
                branches.push(last);
                Ast::Alternate(branches)
            }
            None => Ast::Empty,
        })
    }

    /// One thing that a repeat may follow, or a change of flags, or the literals of `\Q..\E`.
    fn atom(&mut self, items: &mut Vec<Ast>, flags: &mut Flags, depth: usize) -> Result<(), PatternError> {
        match self.next() {
            Some('(') => {
                // A change of flags is no item: in `a(?i)*` Go repeats the `a`.
                items.extend(self.group(flags, depth)?);
            }
            Some('[') => items.push(self.class(*flags)?),
            Some('.') => items.push(Ast::Leaf(any_char(*flags).to_owned())),
            Some('^') => items.push(Ast::Leaf(
                if flags.multi_line { "(?m:^)" } else { "^" }.to_owned(),
            )),
            Some('$') => items.push(Ast::Leaf(
                if flags.multi_line { "(?m:$)" } else { "$" }.to_owned(),
            )),
            Some('*' | '+' | '?') => {
                self.at -= 1;
                return Err(self.error("nothing stands before the repeat"));
            }
            Some('{') => {
                self.at -= 1;
                if self.counts()?.is_some() {
                    return Err(self.error("nothing stands before the repeat"));
                }
                self.at += 1;
                items.push(literal('{', *flags));
            }
            Some('\\') => self.escape(items, *flags)?,
            Some(c) => items.push(literal(c, *flags)),
            None => {}
        }
        Ok(())
    }

    /// The repeats after the item that was read last.
    fn repeats(&mut self, items: &mut Vec<Ast>, flags: Flags, begin: usize) -> Result<(), PatternError> {
        let mut repeated = false;
        loop {
            let at = self.at;
            let counts = match self.peek() {
                Some('*') => Some((0, None)),
                Some('+') => Some((1, None)),
                Some('?') => Some((0, Some(1))),
                Some('{') => self.counts()?,
                Some(_) | None => None,
            };
            let Some((min, max)) = counts else {
                return Ok(());
            };
            if repeated {
                self.at = at;
                return Err(self.error("a repeat follows a repeat"));
            }
            if self.at == at {
                self.at += 1;
            }
            let lazy = self.take("?");
            let Some(inner) = items.pop() else {
                self.at = begin;
                return Err(self.error("nothing stands before the repeat"));
            };
            let repeat = Ast::Repeat {
                inner: Box::new(inner),
                min,
                max,
                greedy: lazy == flags.ungreedy,
            };
            if !repeat.repeats_within(MAX_REPEAT) {
                self.at = at;
                return Err(self.error("repeats within repeats come to more than 1000"));
            }
            items.push(repeat);
            repeated = true;
        }
    }

    /// The counts of `{n}`, `{n,}` or `{n,m}`; anything else is a literal brace, and nothing is taken.
    fn counts(&mut self) -> Result<Option<(u32, Option<u32>)>, PatternError> {
        let begin = self.at;
        let read = self.counts_within();
        let Some((min, max)) = read else {
            self.at = begin;
            return Ok(None);
        };
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min) {
            self.at = begin;
            return Err(self.error("a repeat count is over 1000, or its end is before its start"));
        }
        Ok(Some((min, max)))
    }

    fn counts_within(&mut self) -> Option<(u32, Option<u32>)> {
        self.take("{").then_some(())?;
        let min = self.number()?;
        let max = if !self.take(",") {
            Some(min)
        } else if self.peek() == Some('}') {
            None
        } else {
            Some(self.number()?)
        };
        self.take("}").then_some((min, max))
    }

    /// A decimal number without leading zeros, as Go wants it in a repeat.
    fn number(&mut self) -> Option<u32> {
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = self.chars.get(begin..self.at)?;
        if digits.is_empty() || (digits.len() > 1 && digits.first() == Some(&'0')) {
            return None;
        }
        let text: String = digits.iter().collect();
        // What does not fit is over the limit in any case.
        Some(text.parse().unwrap_or(u32::MAX))
    }

    /// What follows `(`. None if it only changes the flags from here on.
    fn group(&mut self, flags: &mut Flags, depth: usize) -> Result<Option<Ast>, PatternError> {
        let mut inner = *flags;
        let mut is_capture = self.captures;
        let mut name = None;
        if self.take("?P<") || self.take("?<") {
            name = Some(self.name()?);
        } else if self.take("?") {
            is_capture = false;
            let changed = self.flags(*flags)?;
            match self.next() {
                Some(')') => {
                    *flags = changed;
                    return Ok(None);
                }
                _ => inner = changed,
            }
        }
        let ast = self.alternation(&mut inner, depth + 1)?;
        if self.take(")") {
            Ok(Some(if is_capture {
                Ast::Capture(name, Box::new(ast))
            } else {
                ast
            }))
        } else {
            Err(self.error("a group is not closed"))
        }
    }

    fn name(&mut self) -> Result<String, PatternError> {
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let name: String = self
            .chars
            .get(begin..self.at)
            .unwrap_or_default()
            .iter()
            .collect();
        if name.is_empty() || !self.take(">") {
            return Err(self.error("a group's name is not made of letters, digits and `_`"));
        }
        if !self.names.insert(name.clone()) {
            return Err(self.error("two groups have one name"));
        }
        Ok(name)
    }

    /// The flags of `(?ims-U)` or `(?i:`, up to and without the `)` or `:`.
    fn flags(&mut self, mut flags: Flags) -> Result<Flags, PatternError> {
        let (mut value, mut since_sign) = (true, false);
        loop {
            let flag = match self.peek() {
                Some('i') => &mut flags.ignore_case,
                Some('m') => &mut flags.multi_line,
                Some('s') => &mut flags.dot_newline,
                Some('U') => &mut flags.ungreedy,
                Some('-') if value => {
                    self.at += 1;
                    (value, since_sign) = (false, false);
                    continue;
                }
                Some(')' | ':') if value || since_sign => return Ok(flags),
                Some(_) | None => {
                    return Err(self
                        .error("`(?` is followed by something else than flags (i, m, s, U), `:` or a name"));
                }
            };
            *flag = value;
            since_sign = true;
            self.at += 1;
        }
    }

    /// What follows a backslash outside a class.
    fn escape(&mut self, items: &mut Vec<Ast>, flags: Flags) -> Result<(), PatternError> {
        if self.take("Q") {
            while self.peek().is_some() && !self.take("\\E") {
                if let Some(c) = self.next() {
                    items.push(literal(c, flags));
                }
            }
            return Ok(());
        }
        let ready = match self.peek() {
            Some('A') => r"\A",
            Some('z') => r"\z",
            Some('b') => r"(?-u:\b)",
            Some('B') => r"(?-u:\B)",
            Some(_) | None => {
                let leaf = match self.class_escape()? {
                    Some(class) => Ast::Leaf(fold(&format!("[{class}]"), flags)),
                    None => literal(self.char_escape()?, flags),
                };
                items.push(leaf);
                return Ok(());
            }
        };
        self.at += 1;
        items.push(Ast::Leaf(ready.to_owned()));
        Ok(())
    }

    /// An escape that stands for one character; the backslash is taken.
    pub(super) fn char_escape(&mut self) -> Result<char, PatternError> {
        let begin = self.at;
        let unknown = PatternError {
            problem: "a backslash is followed by something that Go does not know (back-references among it)",
            at: Some(begin),
        };
        let c = self.next().ok_or(unknown)?;
        Ok(match c {
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => return self.hex().ok_or(unknown),
            // `\1` is a back-reference and refused, `\12` an octal code.
            '1'..='7' if !matches!(self.peek(), Some('0'..='7')) => return Err(unknown),
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    if let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) {
                        code = code * 8 + digit;
                        self.at += 1;
                    }
                }
                return char::from_u32(code).ok_or(unknown);
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(unknown),
        })
    }

    /// The digits of `\x7F` or `\x{10FFFF}`.
    fn hex(&mut self) -> Option<char> {
        let braces = self.take("{");
        let mut code = 0_u32;
        let mut digits = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) {
            if !braces && digits == 2 {
                break;
            }
            code = code.checked_mul(16)?.checked_add(digit)?;
            digits += 1;
            self.at += 1;
        }
        let complete = if braces {
            digits > 0 && self.take("}")
        } else {
            digits == 2
        };
        complete.then_some(code).and_then(char::from_u32)
    }
}

const fn any_char(flags: Flags) -> &'static str {
    if flags.dot_newline { "(?s:.)" } else { "." }
}

fn literal(c: char, flags: Flags) -> Ast {
    if c == '/' {
        return Ast::Slash;
    }
    let mut text = String::new();
    push_literal(&mut text, c);
    // Only letters have another case.
    Ast::Leaf(if c.is_alphabetic() {
        fold(&text, flags)
    } else {
        text
    })
}

pub(super) fn fold(text: &str, flags: Flags) -> String {
    if flags.ignore_case {
        format!("(?i:{text})")
    } else {
        text.to_owned()
    }
}

pub(super) fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || c == '_' || (!c.is_ascii() && !c.is_whitespace() && !c.is_control()) {
        out.push(c);
    } else {
        out.push_str(&format!(r"\x{{{:X}}}", u32::from(c)));
    }
}
