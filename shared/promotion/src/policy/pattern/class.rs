//! The classes of Go's regular expressions: `[a-z]`, `[[:alpha:]]`, `\d`, `\pL`.

use super::PatternError;
use super::ast::Ast;
use super::go::{Flags, Parser, fold, push_literal};

/// One item of a class: a single character, which may begin a range, or a ready piece of Rust's syntax.
enum ClassItem {
    Char(char),
    Ready(String),
}

impl Parser<'_> {
    /// `\d`, `\pL` and their like, as a piece of a Rust class; the backslash is taken. None if another escape follows.
    pub(super) fn class_escape(&mut self) -> Result<Option<String>, PatternError> {
        let Some(c) = self.peek() else {
            return Err(self.error("a backslash ends the pattern"));
        };
        let ready = match c {
            'd' => "0-9",
            'D' => "[^0-9]",
            's' => r"\t\n\x0C\r\x20",
            'S' => r"[^\t\n\x0C\r\x20]",
            'w' => "0-9A-Za-z_",
            'W' => "[^0-9A-Za-z_]",
            'p' | 'P' => return self.unicode_class().map(Some),
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(ready.to_owned()))
    }

    /// `pL`, `p{Greek}`, `p{^Greek}` or `P..`: a general category or a script.
    fn unicode_class(&mut self) -> Result<String, PatternError> {
        let mut negated = self.next() == Some('P');
        let name: String = if self.take("{") {
            negated ^= self.take("^");
            let begin = self.at;
            while self.peek().is_some_and(|c| c != '}') {
                self.at += 1;
            }
            let name = self
                .chars
                .get(begin..self.at)
                .unwrap_or_default()
                .iter()
                .collect();
            if !self.take("}") {
                return Err(self.error("the name of a Unicode class is not closed"));
            }
            name
        } else {
            self.next().into_iter().collect()
        };
        let kind = match name.len() {
            _ if name == "Any" => {
                return Ok(if negated {
                    r"[^\x00-\x{10FFFF}]"
                } else {
                    r"\x00-\x{10FFFF}"
                }
                .to_owned());
            }
            1 | 2 => "gc",
            _ => "sc",
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.error("a Unicode class is neither a general category nor a script"));
        }
        let letter = if negated { 'P' } else { 'p' };
        Ok(format!(r"\{letter}{{{kind}={name}}}"))
    }

    /// What follows `[`.
    pub(super) fn class(&mut self, flags: Flags) -> Result<Ast, PatternError> {
        let open = self.at - 1;
        let mut out = String::from(if self.take("^") { "[^" } else { "[" });
        let mut first = true;
        loop {
            if self.peek() == Some(']') && !first {
                self.at += 1;
                break;
            }
            first = false;
            let low = match self.class_item(open)? {
                ClassItem::Ready(text) => {
                    out.push_str(&text);
                    continue;
                }
                ClassItem::Char(low) => low,
            };
            push_literal(&mut out, low);
            // A `-` before the closing bracket stands for itself.
            if self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|&c| c != ']') {
                self.at += 1;
                let high = match self.peek() {
                    Some('\\') => {
                        self.at += 1;
                        self.char_escape()?
                    }
                    Some(c) => {
                        self.at += 1;
                        c
                    }
                    None => return Err(self.error("a class is not closed")),
                };
                if high < low {
                    return Err(self.error("a range ends before it starts"));
                }
                out.push('-');
                push_literal(&mut out, high);
            }
        }
        out.push(']');
        // A negated class that includes the newline is what both engines make of it.
        Ok(Ast::Leaf(fold(&out, flags)))
    }

    fn class_item(&mut self, open: usize) -> Result<ClassItem, PatternError> {
        if self.looking_at("[:") {
            let rest = self.chars.get(self.at + 2..).unwrap_or_default();
            if let Some(length) = rest.windows(2).position(|pair| pair == [':', ']']) {
                let name: String = rest.get(..length).unwrap_or_default().iter().collect();
                let Some(text) = posix_class(&name) else {
                    return Err(self.error("a class between `[:` and `:]` is not known"));
                };
                self.at += length + 4;
                return Ok(ClassItem::Ready(text));
            }
        }
        match self.next() {
            Some('\\') => Ok(match self.class_escape()? {
                Some(ready) => ClassItem::Ready(ready),
                None => ClassItem::Char(self.char_escape()?),
            }),
            Some(c) => Ok(ClassItem::Char(c)),
            None => Err(PatternError {
                problem: "a class is not closed",
                at: Some(open),
            }),
        }
    }
}

/// The names that Go knows between `[:` and `:]`, all of them ASCII.
fn posix_class(name: &str) -> Option<String> {
    let bare = name.strip_prefix('^').unwrap_or(name);
    let known = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    known.contains(&bare).then(|| format!("[:{name}:]"))
}
