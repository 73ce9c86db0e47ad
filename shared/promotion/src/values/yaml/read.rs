//! YAML text as a tree.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StructureStyle};

use super::super::MAX_DEPTH;
use super::super::edits::{line_start, next_line};
use super::super::error::{Fault, Problem};
use super::super::tree::{Entry, Form, Kind, Meaning, Node, Tag, Tree, unique_keys};
use super::scalar::plain_meaning;

/// Reads `text`, which has no byte order mark.
pub(in crate::values) fn read(text: &str) -> Result<Tree<'_>, Fault> {
    let options = granit_parser::options! {
        emit_anchor_events: true,
        emit_comments: false,
        // As libyaml and Go read it: text at the end of a file without a line break has none.
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut reader = Reader {
        open: Vec::new(),
        begins: HashMap::new(),
        root: None,
        nodes: 0,
    };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| fault(text, &error))?;
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(Fault::new(offset(&span.start), Problem::SecondDocument));
                }
            }
            event => reader.take(event, &span)?,
        }
    }
    let root = reader.root.unwrap_or(Node {
        id: 0,
        begin: text.len(),
        start: text.len(),
        end: text.len(),
        after: None,
        column: 0,
        anchor: None,
        tag: None,
        form: Form::Plain,
        kind: Kind::Scalar(Meaning::Null),
    });
    let mut tree = Tree { text, root };
    settle(text, &mut tree.root, None, &reader.begins)?;
    Ok(tree)
}

fn offset(mark: &Marker) -> usize {
    mark.byte_offset().unwrap_or_default()
}

/// What is wrong, without a word of the file.
fn fault(text: &str, error: &ScanError) -> Fault {
    let at = error.marker();
    let problem = match error.kind() {
        ErrorKind::RecursionLimitExceeded => Problem::TooDeep,
        // The parser's own texts are fixed, but for a single character in some.
        kind => Problem::Syntax {
            format: "YAML",
            expected: kind
                .to_string()
                .chars()
                .filter(|c| *c == ' ' || c.is_ascii_graphic())
                .take(200)
                .collect(),
        },
    };
    Fault::new(at.byte_offset().unwrap_or(text.len()), problem)
}

/// A list or a map whose end is yet to come.
struct Open {
    node: Node,
    map: bool,
    items: Vec<Node>,
}

struct Reader {
    open: Vec<Open>,
    /// Where the anchors of nodes begin.
    begins: HashMap<usize, usize>,
    root: Option<Node>,
    nodes: usize,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let empty = span.start == span.end && style == ScalarStyle::Plain;
                let meaning = match style {
                    ScalarStyle::Plain if empty => Meaning::Null,
                    ScalarStyle::Plain => plain_meaning(&text),
                    _ => Meaning::Text(text.into_owned()),
                };
                let form = match style {
                    ScalarStyle::Plain => Form::Plain,
                    ScalarStyle::SingleQuoted => Form::Single,
                    ScalarStyle::DoubleQuoted => Form::Double,
                    ScalarStyle::Literal | ScalarStyle::Folded => Form::Lines { header: 0..0 },
                };
                let node = self.node(span, anchor, tag.as_deref(), form, Kind::Scalar(meaning));
                self.close(node);
            }
            Event::Alias(id) => {
                let node = self.node(span, 0, None, Form::Plain, Kind::Alias(id));
                self.close(node);
            }
            Event::SequenceStart(style, anchor, tag) => {
                let node = self.node(span, anchor, tag.as_deref(), form(style), Kind::List(Vec::new()));
                self.begin(node, false)?;
            }
            Event::MappingStart(style, anchor, tag) => {
                let node = self.node(span, anchor, tag.as_deref(), form(style), Kind::Map(Vec::new()));
                self.begin(node, true)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { mut node, map, items }) = self.open.pop() {
                    if node.form == Form::Flow {
                        node.end = offset(&span.end);
                    }
                    node.kind = if map {
                        Kind::Map(pairs(items))
                    } else {
                        Kind::List(items)
                    };
                    unique_keys(node.entries())?;
                    self.close(node);
                }
            }
            Event::Anchor(id, _) => {
                self.begins.insert(id, offset(&span.start));
            }
            _ => {}
        }
        Ok(())
    }

    fn node(
        &mut self,
        span: &Span,
        anchor: usize,
        tag: Option<&granit_parser::Tag>,
        form: Form,
        kind: Kind,
    ) -> Node {
        self.nodes += 1;
        let (start, end) = (offset(&span.start), offset(&span.end));
        let tag = tag.map(|tag| {
            let range = span.tag_span().and_then(|span| span.byte_range());
            Tag {
                name: format!("{}{}", tag.handle(), tag.suffix()),
                range: range.unwrap_or(start..start),
            }
        });
        Node {
            id: self.nodes,
            begin: tag.as_ref().map_or(start, |tag| tag.range.start.min(start)),
            start,
            end,
            after: None,
            column: span.start.col(),
            anchor: Some(anchor).filter(|id| *id != 0),
            tag,
            form,
            kind,
        }
    }

    fn begin(&mut self, node: Node, map: bool) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(node.start, Problem::TooDeep));
        }
        let items = Vec::new();
        self.open.push(Open { node, map, items });
        Ok(())
    }

    fn close(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None => self.root = Some(node),
        }
    }
}

const fn form(style: StructureStyle) -> Form {
    match style {
        StructureStyle::Block => Form::Block,
        StructureStyle::Flow => Form::Flow,
    }
}

fn pairs(items: Vec<Node>) -> Vec<Entry> {
    let mut items = items.into_iter();
    let mut entries = Vec::new();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        entries.push(Entry { key, value });
    }
    entries
}

/// Completes what the events do not say: where anchors begin, block scalars have their headers, and collections and empty
/// values end. `after` is the end of what introduces the node, such as a `:`, where that is known.
fn settle(
    text: &str,
    node: &mut Node,
    after: Option<usize>,
    begins: &HashMap<usize, usize>,
) -> Result<(), Fault> {
    node.after = after;
    if let Some(begin) = node.anchor.and_then(|id| begins.get(&id)) {
        node.begin = node.begin.min(*begin);
    }
    match (&mut node.kind, &node.form) {
        (Kind::Scalar(_), Form::Lines { .. }) => lines(text, node, after)?,
        (Kind::Scalar(Meaning::Null), _) if node.start == node.end => {
            // The parser gives an empty value a place somewhere before the next token.
            let place = node.tag.as_ref().map(|tag| tag.range.end).or(after);
            node.start = place.unwrap_or(node.start);
            node.end = node.start;
            if node.tag.is_none() && node.anchor.is_none() {
                node.begin = node.start;
            }
        }
        (Kind::List(_), Form::Block) => {
            // The parser lets a list that is indented like its key begin with its first item.
            if let Some(start) = value_start(text, node, after)
                && byte(text, start) == Some(b'-')
            {
                let line = text.get(line_start(text, start)..start).unwrap_or_default();
                node.column = line.chars().count();
                node.start = start;
                if node.tag.is_none() && node.anchor.is_none() {
                    node.begin = start;
                }
            }
        }
        _ => {}
    }
    match (&mut node.kind, &node.form) {
        (Kind::Scalar(_) | Kind::Alias(_), _) => {}
        (Kind::List(items), form) => {
            let block = *form == Form::Block;
            let mut at = node.start;
            for item in items {
                let mut after = None;
                if block {
                    let dash = trivia(text, at);
                    if byte(text, dash) == Some(b'-') {
                        after = Some(dash + 1);
                    }
                }
                settle(text, item, after, begins)?;
                at = item.end.max(after.unwrap_or(at));
            }
            if block {
                node.end = at;
            }
        }
        (Kind::Map(entries), form) => {
            let block = *form == Form::Block;
            let mut at = node.start;
            for entry in entries.iter_mut() {
                settle(text, &mut entry.key, None, begins)?;
                let key_end = entry.key.end;
                let colon = if block {
                    blanks(text, key_end)
                } else {
                    trivia(text, key_end)
                };
                let separated = byte(text, colon) == Some(b':') && entry.key.start < key_end;
                settle(text, &mut entry.value, separated.then_some(colon + 1), begins)?;
                at = entry.end();
            }
            if block {
                node.end = at;
            }
        }
    }
    Ok(())
}

/// Finds the header and the end of a block scalar, whose span begins and ends somewhere in its content.
fn lines(text: &str, node: &mut Node, after: Option<usize>) -> Result<(), Fault> {
    let start = value_start(text, node, after).unwrap_or(node.begin);
    let header_end = start
        + text
            .bytes()
            .skip(start)
            .take(3)
            .take_while(|b| matches!(b, b'|' | b'>' | b'+' | b'-' | b'0'..=b'9'))
            .count();
    if !matches!(byte(text, start), Some(b'|' | b'>')) {
        let (what, expected) = ("a block scalar in an odd place", "its `|` or `>` after the key");
        return Err(Fault::new(node.start, Problem::Layout { what, expected }));
    }
    let header = start..header_end;
    let first_line = next_line(text, header_end);
    let mut end = node.end.max(first_line).min(text.len());
    // The span ends at the next token, behind its indentation.
    if end < text.len() {
        while end > first_line && byte(text, end - 1) != Some(b'\n') {
            end -= 1;
        }
    }
    let keep = text
        .get(header.clone())
        .is_some_and(|header| header.contains('+'));
    let indent = if node.start > start {
        node.column
    } else {
        usize::MAX
    };
    if !keep {
        end = without_blank_lines(text, first_line..end, indent);
    }
    if node.begin >= node.start {
        node.begin = start;
    }
    node.begin = node.begin.min(start);
    node.start = start;
    node.end = if end > first_line { end } else { header_end };
    node.form = Form::Lines { header };
    Ok(())
}

/// Where a value begins behind its tag and anchor, or behind `after`.
fn value_start(text: &str, node: &Node, after: Option<usize>) -> Option<usize> {
    let tag = node.tag.as_ref().map(|tag| tag.range.end);
    let anchor = node.anchor.map(|_| {
        // The anchor is before or after the tag; its name has no space.
        let word = |at: usize| {
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            at + rest.iter().take_while(|b| !b" \t\r\n".contains(b)).count()
        };
        let end = word(node.begin);
        let next = trivia(text, end);
        if byte(text, next) == Some(b'&') {
            word(next)
        } else {
            end
        }
    });
    tag.max(anchor).or(after).map(|at| trivia(text, at))
}

/// The end of the last line in `range` that is not blank: one that has more spaces than the content's indentation is not.
fn without_blank_lines(text: &str, range: Range<usize>, indent: usize) -> usize {
    let mut end = range.end;
    while end > range.start {
        let line_end = end - usize::from(byte(text, end - 1) == Some(b'\n'));
        let mut line = line_end;
        while line > range.start && byte(text, line - 1) != Some(b'\n') {
            line -= 1;
        }
        let content = text.get(line..line_end).unwrap_or_default();
        let content = content.strip_suffix('\r').unwrap_or(content);
        if content.bytes().any(|b| b != b' ') || content.len() > indent {
            return line + content.len();
        }
        end = line;
    }
    // Not even the line break after the header.
    range.start
}

pub(super) fn byte(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at).copied()
}

/// Behind the spaces and tabs at `at`.
pub(super) fn blanks(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    at + rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// Behind the white space, line breaks and comments at `at`.
pub(super) fn trivia(text: &str, mut at: usize) -> usize {
    loop {
        match byte(text, at) {
            Some(b' ' | b'\t' | b'\r' | b'\n') => at += 1,
            Some(b'#') => at = line_end(text, at),
            _ => return at,
        }
    }
}

/// Where the line of `at` ends, before its line break.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    let end = at + rest.iter().take_while(|b| **b != b'\n').count();
    end - usize::from(end > at && byte(text, end - 1) == Some(b'\r') && end < text.len())
}
