//! Changes of a YAML tree as edits of its text.

use std::collections::HashSet;
use std::ops::Range;

use super::super::Scalar;
use super::super::change::{Change, Name, New, Plan};
use super::super::edits::{
    Edits, add_to_braces, indentation, line_break, line_start, next_line, remove_from_braces,
};
use super::super::error::{Fault, Problem};
use super::super::tree::{Entry, Form, Kind, Meaning, Node, Tree};
use super::read::byte;
use super::scalar::{double, is_plain, literal, natural, single};

/// Whether `entry` can be taken out of `map` by itself.
pub(in crate::values) fn removable(text: &str, map: &Node, entry: &Entry) -> bool {
    match map.form {
        Form::Flow => byte(text, map.start) == Some(b'{'),
        _ => entry.value.after.is_some() && indentation(text, entry.key.begin).is_some(),
    }
}

/// `target`, changed. With `simple`, block scalars are written in quotes, since what follows them may become part of them.
pub(in crate::values) fn write(
    target: &Tree<'_>,
    source: Option<&Tree<'_>>,
    plan: &Plan<'_>,
    simple: bool,
) -> Result<String, Fault> {
    let layout = |list: bool| {
        let own = offset_in(&target.root, list);
        own.or_else(|| offset_in(&source?.root, list).filter(|_| list))
    };
    let mut writer = Writer {
        text: target.text,
        source: source.map_or("", |tree| tree.text),
        plan,
        edits: Edits::default(),
        newline: line_break(target.text),
        step: layout(false).unwrap_or(2),
        dash: layout(true).unwrap_or(2),
        simple,
        lines: false,
    };
    writer.visit(&target.root, None)?;
    writer.edits.apply(target.text)
}

/// How far the first map (or list) below a map is indented in it.
fn offset_in(node: &Node, list: bool) -> Option<usize> {
    if node.form == Form::Block && matches!(node.kind, Kind::Map(_)) {
        for Entry { value, .. } in node.entries() {
            if value.form == Form::Block && matches!(value.kind, Kind::List(_)) == list {
                return value
                    .column
                    .checked_sub(node.column)
                    .filter(|offset| *offset <= 16);
            }
        }
    }
    node.children().find_map(|child| offset_in(child, list))
}

/// What surrounds a value.
#[derive(Clone, Copy)]
struct Slot {
    /// The column of the collection that it is in.
    indent: usize,
    /// Whether that is in brackets or braces.
    flow: bool,
    /// Whether that is a list.
    item: bool,
}

/// A value as it is written in a block collection: what follows the `:` or `-` on its line, and the lines below.
struct Block {
    head: String,
    body: Vec<String>,
}

impl Block {
    const fn inline(head: String) -> Self {
        let body = Vec::new();
        Self { head, body }
    }
}

struct Writer<'a> {
    text: &'a str,
    source: &'a str,
    plan: &'a Plan<'a>,
    edits: Edits,
    newline: &'static str,
    /// How far a map is indented in a map.
    step: usize,
    /// How far a list is indented in a map.
    dash: usize,
    simple: bool,
    /// Whether a block scalar has been written, which needs a line break behind it.
    lines: bool,
}

impl Writer<'_> {
    fn visit(&mut self, node: &Node, slot: Option<Slot>) -> Result<(), Fault> {
        let change = self.plan.at(node);
        if let Some(Change::Replace(new)) = change {
            self.lines = false;
            return match slot {
                None => self.replace_root(node, new),
                Some(slot) if slot.flow => self.replace_in_brackets(node, new),
                Some(slot) => self.replace(node, slot, new),
            };
        }
        let below = Slot {
            indent: node.column,
            flow: node.form == Form::Flow,
            item: matches!(node.kind, Kind::List(_)),
        };
        match &node.kind {
            Kind::List(items) => items.iter().try_for_each(|item| self.visit(item, Some(below)))?,
            Kind::Map(entries) => {
                let removed = |entry: &Entry| matches!(change, Some(Change::Extend { remove, .. }) if remove.contains(&entry.key.id));
                for entry in entries.iter().filter(|entry| !removed(entry)) {
                    self.visit(&entry.value, Some(below))?;
                }
            }
            Kind::Scalar(_) | Kind::Alias(_) => {}
        }
        match change {
            Some(Change::Extend { add, remove }) if below.flow => self.extend_braces(node, add, remove),
            Some(Change::Extend { add, remove }) => self.extend(node, add, remove),
            _ => Ok(()),
        }
    }

    fn raw(&self, node: &Node) -> &str {
        self.source.get(node.start..node.end).unwrap_or_default()
    }

    fn layout(node: &Node, what: &'static str, expected: &'static str) -> Fault {
        Fault::new(node.begin, Problem::Layout { what, expected })
    }

    // In block collections.

    fn replace_root(&mut self, node: &Node, new: &New<'_>) -> Result<(), Fault> {
        let Block { body, .. } = self.block(new, None, 0, 0, false)?;
        if node.begin < node.end {
            return self.edits.put(node.begin..node.end, body.join(self.newline));
        }
        let end = self.text.len();
        self.put_lines(end..end, &body)
    }

    fn replace(&mut self, node: &Node, slot: Slot, new: &New<'_>) -> Result<(), Fault> {
        let Some(after) = node.after else {
            let what = "a value whose key stands after a `?`";
            return Err(Self::layout(node, what, "`key: value`"));
        };
        let on_line = |at: usize| !self.text.get(after..at).unwrap_or_default().contains('\n');
        let (begins_on_line, starts_on_line) = (on_line(node.begin), on_line(node.start));
        let inner = match (&node.kind, new, slot.item) {
            // In the place of a collection, at its column.
            (Kind::List(_), New::Source(n), _)
                if node.form == Form::Block && matches!(n.kind, Kind::List(_)) =>
            {
                Some(node.column)
            }
            (Kind::Map(_), _, _) if node.form == Form::Block => Some(node.column),
            _ => None,
        };
        let column = match inner {
            Some(column) => column,
            None if slot.item && node.begin < node.end && begins_on_line => {
                slot.indent + (node.begin - after) + 1
            }
            None if slot.item => slot.indent + 2,
            None => match new {
                New::Source(n) if matches!(n.kind, Kind::List(_)) => slot.indent + self.dash,
                _ => slot.indent + self.step,
            },
        };
        // A collection below the line of its dash stays there.
        let compact = slot.item && (starts_on_line || node.form != Form::Block);
        let Block { head, body } = self.block(new, Some(node), slot.indent, column, compact)?;
        if let Form::Lines { header } = &node.form {
            let lines = next_line(self.text, header.end);
            self.put_head(node.begin..header.end, after, &head)?;
            return self.put_lines(lines..self.behind(node.end).max(lines), &body);
        }
        if node.begin == node.end {
            self.put_head(after..after, after, &head)?;
            let below = next_line(self.text, after);
            return self.put_lines(below..below, &body);
        }
        if starts_on_line || (begins_on_line && node.form != Form::Block) {
            // A block scalar at the end has the line break, which is not only its own.
            let old = self.text.get(node.begin..node.end).unwrap_or_default();
            let end = node.begin + old.trim_end_matches(['\r', '\n']).len();
            let below = self.behind(end);
            self.put_head(node.begin..end, after, &head)?;
            return self.put_lines(below..below, &body);
        }
        if node.form == Form::Block {
            // Below the line of its key, where only a tag may stand.
            let tag = if begins_on_line {
                let end = node.tag.as_ref().map_or(after, |tag| tag.range.end);
                node.begin.min(end)..end
            } else {
                after..after
            };
            let below = next_line(self.text, tag.end);
            self.put_head(tag, after, &head)?;
            return self.put_lines(below..self.behind(node.end), &body);
        }
        if body.is_empty() {
            return self.edits.put(node.begin..node.end, head);
        }
        self.put_head(after..after, after, &head)?;
        let lines = line_start(self.text, node.begin)..self.behind(node.end);
        self.put_lines(lines, &body)
    }

    fn extend(
        &mut self,
        map: &Node,
        add: &[(Name<'_>, New<'_>)],
        remove: &HashSet<usize>,
    ) -> Result<(), Fault> {
        for entry in map.entries().iter().filter(|e| remove.contains(&e.key.id)) {
            let lines = line_start(self.text, entry.key.begin)..self.behind(entry.end());
            self.edits.put(lines, "")?;
        }
        let Some(last) = map.entries().last().filter(|_| !add.is_empty()) else {
            return Ok(());
        };
        let step = self.step;
        if let Some(offset) = offset_in(map, false) {
            self.step = offset;
        }
        self.lines = false;
        let mut lines = Vec::new();
        for (name, value) in add {
            self.entry(&mut lines, name, value, map.column)?;
        }
        self.step = step;
        let below = self.behind(last.end());
        self.put_lines(below..below, &lines)
    }

    /// The byte after the line in which something ends before `end`.
    fn behind(&self, end: usize) -> usize {
        if end > 0 && byte(self.text, end - 1) == Some(b'\n') {
            end
        } else {
            next_line(self.text, end)
        }
    }

    /// Puts what follows a `:` or `-`, which ends at `after`, in the place of what follows it now.
    fn put_head(&mut self, range: Range<usize>, after: usize, head: &str) -> Result<(), Fault> {
        if head.is_empty() {
            self.edits.put(after.min(range.start)..range.end, "")
        } else if range.is_empty() {
            self.edits.put(range, format!(" {head}"))
        } else {
            self.edits.put(range, head)
        }
    }

    fn put_lines(&mut self, range: Range<usize>, lines: &[String]) -> Result<(), Fault> {
        self.edits.put_lines(self.text, range, lines, self.lines)
    }

    /// A value below a key or in an item of a list at column `indent`. A collection has its own column.
    fn block(
        &mut self,
        new: &New<'_>,
        old: Option<&Node>,
        indent: usize,
        column: usize,
        item: bool,
    ) -> Result<Block, Fault> {
        let mut lines = Vec::new();
        match new {
            New::Scalar(scalar) => return self.scalar(scalar, old, indent),
            New::Map(entries) => {
                for (name, value) in entries {
                    self.entry(&mut lines, name, value, column)?;
                }
            }
            New::Source(node) => match &node.kind {
                Kind::Scalar(meaning) => return self.copied(node, meaning, indent),
                Kind::Map(entries) if node.form == Form::Block => {
                    for Entry { key, value } in entries {
                        self.entry(&mut lines, &Name::Source(key), &New::Source(value), column)?;
                    }
                }
                Kind::List(items) if node.form == Form::Block => {
                    let prefix = format!("{}-", spaces(column));
                    for value in items {
                        self.edits.spend(column)?;
                        let value = self.block(&New::Source(value), None, column, column + 2, true)?;
                        lines.push(joined(&prefix, &value.head));
                        lines.extend(value.body);
                    }
                }
                _ => return self.in_brackets(new, None).map(Block::inline),
            },
        }
        let tag = match new {
            New::Source(node) => self.tag(node),
            _ => String::new(),
        };
        if !item || !tag.is_empty() {
            let (head, body) = (tag.trim_end().to_owned(), lines);
            return Ok(Block { head, body });
        }
        // Begins on the line of the dash.
        let mut lines = lines.into_iter();
        let head = lines.next().unwrap_or_default();
        let head = head.get(column..).unwrap_or_default().to_owned();
        let body = lines.collect();
        Ok(Block { head, body })
    }

    fn entry(
        &mut self,
        lines: &mut Vec<String>,
        name: &Name<'_>,
        value: &New<'_>,
        indent: usize,
    ) -> Result<(), Fault> {
        self.edits.spend(indent)?;
        let key = format!("{}{}:", spaces(indent), self.name(name, false)?);
        let list = matches!(value, New::Source(node) if matches!(node.kind, Kind::List(_)));
        let column = indent + if list { self.dash } else { self.step };
        let Block { head, body } = self.block(value, None, indent, column, false)?;
        lines.push(joined(&key, &head));
        lines.extend(body);
        Ok(())
    }

    /// A single value of the source.
    fn copied(&mut self, node: &Node, meaning: &Meaning, indent: usize) -> Result<Block, Fault> {
        let tag = self.tag(node);
        let raw = self.raw(node);
        let (Form::Lines { header }, Meaning::Text(text)) = (&node.form, meaning) else {
            return Ok(Block::inline(tag + &one_line(raw, meaning)));
        };
        let header = self.source.get(header.clone()).unwrap_or_default();
        if self.simple || text.trim().is_empty() {
            return Ok(Block::inline(tag + &double(text)));
        }
        let digit = header.bytes().find(u8::is_ascii_digit);
        let column = indent + digit.map_or(self.step, |digit| usize::from(digit - b'0'));
        let content = raw.split_once('\n').map_or("", |(_, content)| content);
        let content = content.strip_suffix('\n').unwrap_or(content);
        self.edits
            .spend(column.saturating_mul(content.split('\n').count()))?;
        let body = content.split('\n').map(|line| {
            let line = line.strip_suffix('\r').unwrap_or(line);
            let blanks = line.bytes().take(node.column).take_while(|b| *b == b' ').count();
            match line.get(blanks..) {
                Some(line) if !line.is_empty() => format!("{}{line}", spaces(column)),
                _ => String::new(),
            }
        });
        let body = body.collect();
        let head = format!("{tag}{header}");
        self.lines = true;
        Ok(Block { head, body })
    }

    /// A single value that is set, in the style of the one that stands there.
    fn scalar(&mut self, scalar: &Scalar, old: Option<&Node>, indent: usize) -> Result<Block, Fault> {
        let Scalar::Text(text) = scalar else {
            return Ok(Block::inline(scalar.meaning().text().to_owned()));
        };
        let form = old.map_or(&Form::Plain, |old| &old.form);
        if let (Form::Lines { .. }, false, Some((header, lines))) = (form, self.simple, literal(text)) {
            let column = indent + self.step;
            self.edits.spend(column.saturating_mul(lines.len()))?;
            let indented = |line: String| match line.as_str() {
                "" => line,
                line => format!("{}{line}", spaces(column)),
            };
            self.lines = true;
            return Ok(Block {
                head: header.to_owned(),
                body: lines.into_iter().map(indented).collect(),
            });
        }
        Ok(Block::inline(quoted_like(text, form, false)))
    }

    fn tag(&self, node: &Node) -> String {
        let tag = node
            .tag
            .as_ref()
            .and_then(|tag| self.source.get(tag.range.clone()));
        tag.map(|tag| format!("{tag} ")).unwrap_or_default()
    }

    fn name(&self, name: &Name<'_>, flow: bool) -> Result<String, Fault> {
        match name {
            Name::Text(text) => Ok(natural(text, flow)),
            Name::Source(node) => {
                let raw = self.raw(node);
                let plain = node.form == Form::Plain;
                match &node.kind {
                    Kind::Scalar(_) if node.tag.is_some() || raw.is_empty() || raw.contains('\n') => {}
                    Kind::Scalar(Meaning::Text(text)) if plain && !is_plain(raw, flow) => {
                        return Ok(double(text));
                    }
                    Kind::Scalar(_) => return Ok(raw.to_owned()),
                    _ => {}
                }
                let (what, expected) = (
                    "a key of several lines or values",
                    "plain or quoted text on one line",
                );
                Err(Self::layout(node, what, expected).at_source())
            }
        }
    }

    // In brackets and braces.

    fn replace_in_brackets(&mut self, node: &Node, new: &New<'_>) -> Result<(), Fault> {
        let text = self.in_brackets(new, Some(node))?;
        if node.begin < node.end {
            return self.edits.put(node.begin..node.end, text);
        }
        match node.after {
            Some(after) => self.edits.put(after..after, format!(" {text}")),
            None => Err(Self::layout(node, "a key without a value", "`key: value`")),
        }
    }

    fn extend_braces(
        &mut self,
        map: &Node,
        add: &[(Name<'_>, New<'_>)],
        remove: &HashSet<usize>,
    ) -> Result<(), Fault> {
        if byte(self.text, map.start) != Some(b'{') {
            return Err(Self::layout(map, "a pair without braces", "`{key: value}`"));
        }
        let mut added = Vec::new();
        for (name, value) in add {
            added.push(self.pair(name, value)?);
        }
        if map.entries().is_empty() {
            let braces = self.text.get(map.start + 1..map.end.saturating_sub(1));
            let blank = braces.is_some_and(|braces| braces.trim().is_empty());
            if !blank {
                return Err(Self::layout(map, "an empty map with a comment", "`{}`"));
            }
            return self
                .edits
                .put(map.start..map.end, format!("{{{}}}", added.join(", ")));
        }
        remove_from_braces(&mut self.edits, map, remove)?;
        add_to_braces(&mut self.edits, self.text, map, remove, &added)
    }

    fn pair(&self, name: &Name<'_>, value: &New<'_>) -> Result<String, Fault> {
        Ok(format!(
            "{}: {}",
            self.name(name, true)?,
            self.in_brackets(value, None)?
        ))
    }

    fn in_brackets(&self, new: &New<'_>, old: Option<&Node>) -> Result<String, Fault> {
        let node = match new {
            New::Map(entries) => {
                let pairs = entries.iter().map(|(name, value)| self.pair(name, value));
                return Ok(format!(
                    "{{{}}}",
                    pairs.collect::<Result<Vec<_>, _>>()?.join(", ")
                ));
            }
            New::Scalar(Scalar::Text(text)) => {
                let form = old.map_or(&Form::Plain, |old| &old.form);
                return Ok(quoted_like(text, form, true));
            }
            New::Scalar(scalar) => return Ok(scalar.meaning().text().to_owned()),
            New::Source(node) => node,
        };
        let (tag, raw) = (self.tag(node), self.raw(node));
        if node.form == Form::Flow && !raw.contains('\n') && !raw.starts_with(|c| c != '[' && c != '{') {
            return Ok(tag + raw);
        }
        let value = match &node.kind {
            Kind::Scalar(Meaning::Text(text)) if node.form == Form::Plain && !is_plain(raw, true) => {
                double(text)
            }
            Kind::Scalar(Meaning::Text(text)) if matches!(node.form, Form::Lines { .. }) => double(text),
            Kind::Scalar(meaning) => one_line(raw, meaning),
            Kind::List(items) => {
                let items = items
                    .iter()
                    .map(|item| self.in_brackets(&New::Source(item), None));
                format!("[{}]", items.collect::<Result<Vec<_>, _>>()?.join(", "))
            }
            Kind::Map(entries) => {
                let pairs = entries
                    .iter()
                    .map(|Entry { key, value }| self.pair(&Name::Source(key), &New::Source(value)));
                format!("{{{}}}", pairs.collect::<Result<Vec<_>, _>>()?.join(", "))
            }
            Kind::Alias(_) => return Err(Fault::new(node.start, Problem::Alias).at_source()),
        };
        Ok(tag + &value)
    }
}

fn spaces(count: usize) -> String {
    " ".repeat(count)
}

fn joined(key: &str, head: &str) -> String {
    if head.is_empty() {
        key.to_owned()
    } else {
        format!("{key} {head}")
    }
}

/// A value as it stands in the source, or on one line if it has several.
fn one_line(raw: &str, meaning: &Meaning) -> String {
    match meaning {
        Meaning::Null if raw.is_empty() => "null".to_owned(),
        Meaning::Text(text) if raw.contains(['\n', '\r']) => match raw.starts_with(['"', '\'']) {
            true => double(text),
            false => natural(text, false),
        },
        _ => raw.to_owned(),
    }
}

/// Text in the quotes of what stood there.
fn quoted_like(text: &str, form: &Form, flow: bool) -> String {
    match form {
        Form::Single => single(text).unwrap_or_else(|| double(text)),
        Form::Double => double(text),
        _ => natural(text, flow),
    }
}
