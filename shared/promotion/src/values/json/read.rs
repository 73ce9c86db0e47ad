//! JSON text as a tree.

use super::super::MAX_DEPTH;
use super::super::error::{Fault, Problem};
use super::super::tree::{Entry, Form, Kind, Meaning, Node, Tree, unique_keys};

/// Reads `text`, which has no byte order mark. A file without a value is read as null, so that keys can be added to it.
pub(in crate::values) fn read(text: &str) -> Result<Tree<'_>, Fault> {
    let mut reader = Reader {
        text,
        at: 0,
        nodes: 0,
    };
    reader.blanks();
    let root = if reader.at == text.len() {
        let at = text.len();
        reader.node(at, Form::Plain, Kind::Scalar(Meaning::Null))
    } else {
        reader.value(0, None)?
    };
    reader.blanks();
    match reader.at == text.len() {
        true => Ok(Tree { text, root }),
        false => Err(reader.fault("the file to end behind its value")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn fault(&self, expected: &str) -> Fault {
        let expected = format!("expected {expected}");
        let format = "JSON";
        Fault::new(self.at, Problem::Syntax { format, expected })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// A node from `start` to here.
    fn node(&mut self, start: usize, form: Form, kind: Kind) -> Node {
        self.nodes += 1;
        Node {
            id: self.nodes,
            begin: start,
            start,
            end: self.at,
            after: None,
            column: 0,
            anchor: None,
            tag: None,
            form,
            kind,
        }
    }

    fn value(&mut self, depth: usize, after: Option<usize>) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(self.at, Problem::TooDeep));
        }
        let start = self.at;
        let mut node = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => {
                let length = number(self.rest()).ok_or_else(|| self.fault("digits of a number"))?;
                let number = self.rest().get(..length).unwrap_or_default().to_owned();
                self.at += length;
                self.node(start, Form::Plain, Kind::Scalar(Meaning::Other(number)))
            }
            _ => {
                let words = [
                    ("null", Meaning::Null),
                    ("true", Meaning::Truth(true)),
                    ("false", Meaning::Truth(false)),
                ];
                let word = words.into_iter().find(|(word, _)| self.rest().starts_with(word));
                let (word, meaning) = word.ok_or_else(|| self.fault("a value"))?;
                self.at += word.len();
                self.node(start, Form::Plain, Kind::Scalar(meaning))
            }
        };
        node.after = after;
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Node, Fault> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        while !self.eat(b']') {
            if !items.is_empty() {
                if !self.eat(b',') {
                    return Err(self.fault("`,` or `]` after an item"));
                }
                self.blanks();
            }
            items.push(self.value(depth + 1, Some(self.at))?);
            self.blanks();
        }
        Ok(self.node(start, Form::Flow, Kind::List(items)))
    }

    fn map(&mut self, depth: usize) -> Result<Node, Fault> {
        let start = self.at;
        self.at += 1;
        let mut entries: Vec<Entry> = Vec::new();
        self.blanks();
        while !self.eat(b'}') {
            if !entries.is_empty() {
                if !self.eat(b',') {
                    return Err(self.fault("`,` or `}` after an entry"));
                }
                self.blanks();
            }
            if self.peek() != Some(b'"') {
                return Err(self.fault("a key in double quotes"));
            }
            let key = self.string()?;
            self.blanks();
            if !self.eat(b':') {
                return Err(self.fault("`:` after a key"));
            }
            let after = self.at;
            self.blanks();
            let value = self.value(depth + 1, Some(after))?;
            entries.push(Entry { key, value });
            self.blanks();
        }
        unique_keys(&entries)?;
        Ok(self.node(start, Form::Flow, Kind::Map(entries)))
    }

    fn string(&mut self) -> Result<Node, Fault> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => {
                    self.at = start;
                    return Err(self.fault("a closing double quote"));
                }
                Some(b'"') => break,
                // What follows is checked below.
                Some(b'\\') => self.at = (self.at + 2).min(self.text.len()),
                Some(0..=0x1f) => return Err(self.fault("no line break or control character in quotes")),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let raw = self.text.get(start..self.at).unwrap_or_default();
        match serde_json::from_str(raw) {
            Ok(text) => Ok(self.node(start, Form::Double, Kind::Scalar(Meaning::Text(text)))),
            Err(_) => {
                self.at = start;
                Err(self.fault("only the escapes of JSON in a text"))
            }
        }
    }
}

/// The length of the number that `text` begins with.
pub(in crate::values) fn number(text: &str) -> Option<usize> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let tail = |at: usize| text.get(at..).unwrap_or_default();
    let mut at = usize::from(text.starts_with('-'));
    let whole = digits(tail(at));
    if whole == 0 || (whole > 1 && tail(at).starts_with('0')) {
        return None;
    }
    at += whole;
    if tail(at).starts_with('.') {
        let fraction = digits(tail(at + 1));
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if let Some(exponent) = tail(at).strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let exponent = digits(exponent.get(sign..).unwrap_or_default());
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}
