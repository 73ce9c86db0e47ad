//! Changes of a TOML tree as edits of its text.

use std::collections::HashSet;

use super::super::Scalar;
use super::super::change::{Change, Name, New, Plan};
use super::super::edits::{Edits, add_to_braces, indentation, line_start, next_line, remove_from_braces};
use super::super::error::{Fault, Problem};
use super::super::tree::{Entry, Form, Kind, Node, Tree};

/// Whether `entry` can be taken out of `map` by itself: on a line of its own, or in braces.
pub(in crate::values) fn removable(text: &str, map: &Node, entry: &Entry) -> bool {
    entry.value.after.is_some()
        && (map.form == Form::Flow
            || (map.form == Form::Block && indentation(text, entry.key.begin).is_some()))
}

/// `target`, changed.
pub(in crate::values) fn write(
    target: &Tree<'_>,
    source: Option<&Tree<'_>>,
    plan: &Plan<'_>,
) -> Result<String, Fault> {
    let mut writer = Writer {
        text: target.text,
        source: source.map_or("", |tree| tree.text),
        plan,
        edits: Edits::default(),
    };
    writer.visit(&target.root, &mut Vec::new())?;
    writer.edits.apply(target.text)
}

struct Writer<'a> {
    text: &'a str,
    source: &'a str,
    plan: &'a Plan<'a>,
    edits: Edits,
}

/// A header with the lines below it, and the tables in it.
#[derive(Default)]
struct Section {
    lines: Vec<String>,
    below: Vec<String>,
}

impl<'a> Writer<'a> {
    /// Writes the changes in `node`, to which `path` leads, each part as it is written in a header.
    fn visit(&mut self, node: &Node, path: &mut Vec<&'a str>) -> Result<(), Fault> {
        let change = self.plan.at(node);
        if let Some(Change::Replace(new)) = change {
            if node.after.is_none() {
                let (what, expected) = (
                    "a table or list of tables that would change its kind or its keys",
                    "`key = value`",
                );
                return Err(Fault::new(node.start, Problem::Layout { what, expected }));
            }
            let value = self.value(new, Some(node))?;
            return self.edits.put(node.begin..node.end, value);
        }
        let removed = |entry: &Entry| matches!(change, Some(Change::Extend { remove, .. }) if remove.contains(&entry.key.id));
        match &node.kind {
            Kind::List(items) => {
                for item in items {
                    self.visit(item, path)?;
                }
            }
            Kind::Map(entries) => {
                for entry in entries.iter().filter(|entry| !removed(entry)) {
                    path.push(self.text.get(entry.key.begin..entry.key.end).unwrap_or_default());
                    self.visit(&entry.value, path)?;
                    path.pop();
                }
            }
            Kind::Scalar(_) | Kind::Alias(_) => {}
        }
        let Some(Change::Extend { add, remove }) = change else {
            return Ok(());
        };
        match node.form {
            Form::Flow => self.extend_braces(node, add, remove),
            Form::Dotted => self.extend_dotted(node, add),
            _ => self.extend(node, add, remove, path),
        }
    }

    fn extend_braces(
        &mut self,
        map: &Node,
        add: &[(Name<'_>, New<'_>)],
        remove: &HashSet<usize>,
    ) -> Result<(), Fault> {
        let mut added = Vec::new();
        for (name, value) in add {
            added.push(self.pair(name, value)?);
        }
        if map.entries().is_empty() {
            let text = format!("{{ {} }}", added.join(", "));
            return self.edits.put(map.start..map.end, text);
        }
        remove_from_braces(&mut self.edits, map, remove)?;
        add_to_braces(&mut self.edits, self.text, map, remove, &added)
    }

    fn extend_dotted(&mut self, map: &Node, add: &[(Name<'_>, New<'_>)]) -> Result<(), Fault> {
        let (Some(first), Some(end)) = (map.entries().first(), own_end(map)) else {
            return Ok(());
        };
        let line = line_start(self.text, first.key.begin);
        let prefix = self.text.get(line..first.key.begin).unwrap_or_default();
        if prefix.contains(['{', '=', '[']) {
            let (what, expected) = ("a dotted key in braces", "`key = value` in braces");
            return Err(Fault::new(map.start, Problem::Layout { what, expected }));
        }
        let mut lines = Vec::new();
        for (name, value) in add {
            self.edits.spend(prefix.len())?;
            lines.push(format!("{prefix}{}", self.pair(name, value)?));
        }
        let below = next_line(self.text, end);
        self.edits.put_lines(self.text, below..below, &lines, false)
    }

    /// Adds to a table that has a header or may have one.
    fn extend(
        &mut self,
        map: &Node,
        add: &[(Name<'_>, New<'_>)],
        remove: &HashSet<usize>,
        path: &[&str],
    ) -> Result<(), Fault> {
        for entry in map.entries().iter().filter(|e| remove.contains(&e.key.id)) {
            let lines = line_start(self.text, entry.key.begin)..next_line(self.text, entry.end());
            self.edits.put(lines, "")?;
        }
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let mut section = Section::default();
        for (name, value) in add {
            self.entry(&mut section, name, value, &path)?;
        }
        let root = path.is_empty();
        let end = self.text.len();
        let Section { lines, below } = section;
        if map.form == Form::Implicit {
            let mut all = Vec::new();
            if !lines.is_empty() {
                all.extend([String::new(), format!("[{}]", path.join("."))]);
            }
            all.extend(lines.into_iter().chain(below));
            return self.edits.put_lines(self.text, end..end, &all, false);
        }
        let own = own_end(map).or((!root).then_some(map.end));
        let place = match own {
            Some(own) => next_line(self.text, own),
            None => self.before_headers(map),
        };
        let indent = map.entries().iter().find_map(|entry| {
            let own = entry
                .value
                .after
                .and_then(|_| indentation(self.text, entry.key.begin));
            own.filter(|indent| !indent.is_empty())
        });
        self.edits.spend(indent.map_or(0, str::len) * lines.len())?;
        let mut lines: Vec<_> = match indent {
            Some(indent) => lines.iter().map(|line| format!("{indent}{line}")).collect(),
            None => lines,
        };
        if own.is_none() && place < end && !lines.is_empty() {
            lines.push(String::new());
        }
        // At the end of the file nothing is between a blank line and what goes before it.
        let (place_below, mut below) = (if root { end } else { place }, below);
        if self.text.is_empty() && lines.is_empty() && below.first().is_some_and(String::is_empty) {
            below.remove(0);
        }
        self.edits.put_lines(self.text, place..place, &lines, false)?;
        self.edits
            .put_lines(self.text, place_below..place_below, &below, false)
    }

    /// Where the keys of a file begin that has only tables: before the first header and the comments right above it.
    fn before_headers(&self, root: &Node) -> usize {
        let header = |node: &Node| node.form == Form::Block && node.start < node.end;
        let Some(first) = root.first(&header) else {
            return self.text.len();
        };
        let mut place = line_start(self.text, first.start);
        while let Some(above) = place.checked_sub(1).map(|at| line_start(self.text, at)) {
            let line = self.text.get(above..place).unwrap_or_default();
            if !line.trim_start().starts_with('#') {
                break;
            }
            place = above;
        }
        place
    }

    /// Adds an entry to the table at `path`: a line, or a header with lines for what has one in the source.
    fn entry(
        &self,
        section: &mut Section,
        name: &Name<'_>,
        value: &New<'_>,
        path: &[String],
    ) -> Result<(), Fault> {
        let mut path = path.to_vec();
        path.push(self.name(name));
        let headed = |node: &Node| matches!(node.form, Form::Block | Form::Implicit);
        match value {
            New::Map(entries) => {
                let entries = entries.iter().map(|(name, value)| (name.clone(), value.clone()));
                self.table(section, entries.collect(), &path, false)
            }
            New::Source(node) if headed(node) => match &node.kind {
                Kind::List(items) => {
                    for item in items {
                        self.table(section, copied(item), &path, true)?;
                    }
                    Ok(())
                }
                _ => self.table(section, copied(node), &path, false),
            },
            _ => {
                section.lines.push(self.pair(name, value)?);
                Ok(())
            }
        }
    }

    fn table(
        &self,
        section: &mut Section,
        entries: Vec<(Name<'_>, New<'_>)>,
        path: &[String],
        list: bool,
    ) -> Result<(), Fault> {
        let mut inner = Section::default();
        for (name, value) in &entries {
            self.entry(&mut inner, name, value, path)?;
        }
        if list || !inner.lines.is_empty() || inner.below.is_empty() {
            let path = path.join(".");
            self.edits.spend(path.len())?;
            let header = if list {
                format!("[[{path}]]")
            } else {
                format!("[{path}]")
            };
            section.below.extend([String::new(), header]);
        }
        section.below.extend(inner.lines);
        section.below.extend(inner.below);
        Ok(())
    }

    fn pair(&self, name: &Name<'_>, value: &New<'_>) -> Result<String, Fault> {
        Ok(format!("{} = {}", self.name(name), self.value(value, None)?))
    }

    fn name(&self, name: &Name<'_>) -> String {
        match name {
            Name::Source(node) => self.raw(node).to_owned(),
            Name::Text(text) => {
                let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                if !text.is_empty() && text.bytes().all(bare) {
                    text.clone()
                } else {
                    quoted(text)
                }
            }
        }
    }

    fn raw(&self, node: &Node) -> &'a str {
        self.source.get(node.start..node.end).unwrap_or_default()
    }

    /// A value as it follows a `=`.
    fn value(&self, new: &New<'_>, old: Option<&Node>) -> Result<String, Fault> {
        let pairs = |pairs: Vec<String>| match pairs.as_slice() {
            [] => "{}".to_owned(),
            pairs => format!("{{ {} }}", pairs.join(", ")),
        };
        let node = match new {
            New::Scalar(Scalar::Text(text)) => {
                let literal = old.is_some_and(|old| old.form == Form::Single);
                return Ok(
                    if literal && !text.contains(|c: char| c == '\'' || c.is_control()) {
                        format!("'{text}'")
                    } else {
                        quoted(text)
                    },
                );
            }
            New::Scalar(scalar) => return Ok(scalar.meaning().text().to_owned()),
            New::Map(entries) => {
                let entries = entries.iter().map(|(name, value)| self.pair(name, value));
                return Ok(pairs(entries.collect::<Result<_, _>>()?));
            }
            New::Source(node) => node,
        };
        match &node.kind {
            _ if node.form == Form::Flow && !self.has_comment(node) => Ok(self.raw(node).to_owned()),
            Kind::List(items) => {
                let items = items.iter().map(|item| self.value(&New::Source(item), None));
                Ok(format!("[{}]", items.collect::<Result<Vec<_>, _>>()?.join(", ")))
            }
            Kind::Map(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|e| self.pair(&Name::Source(&e.key), &New::Source(&e.value)));
                Ok(pairs(entries.collect::<Result<_, _>>()?))
            }
            Kind::Scalar(_) | Kind::Alias(_) => Ok(self.raw(node).to_owned()),
        }
    }

    /// Whether a comment stands between the parts of a list or map of the source.
    fn has_comment(&self, node: &Node) -> bool {
        let mut at = node.start;
        let mut gaps = node.children().map(|child| {
            let gap = at..child.begin.max(at);
            at = child.end.max(at);
            gap
        });
        let comment = |gap| self.source.get(gap).is_some_and(|gap: &str| gap.contains('#'));
        let inner = gaps.any(comment);
        let last = node.children().last().map_or(node.start, |child| child.end);
        inner || comment(last..node.end) || node.children().any(|child| self.has_comment_below(child))
    }

    fn has_comment_below(&self, node: &Node) -> bool {
        matches!(node.kind, Kind::List(_) | Kind::Map(_)) && self.has_comment(node)
    }
}

fn copied(node: &Node) -> Vec<(Name<'_>, New<'_>)> {
    let entries = node.entries().iter();
    entries
        .map(|e| (Name::Source(&e.key), New::Source(&e.value)))
        .collect()
}

/// The end of the last line that belongs to a table itself, behind its header.
fn own_end(map: &Node) -> Option<usize> {
    let entries = map.entries().iter();
    let ends = entries.filter_map(|Entry { value, .. }| match (value.after, &value.form) {
        (Some(_), _) => Some(value.end),
        (None, Form::Dotted) => own_end(value),
        _ => None,
    });
    ends.max()
}

/// `text` as a basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
