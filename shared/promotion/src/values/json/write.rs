//! Changes of a JSON tree as edits of its text.

use super::super::Scalar;
use super::super::change::{Change, Name, New, Plan};
use super::super::edits::{
    Edits, add_to_braces, entry_indentation, indentation, line_break, remove_from_braces,
};
use super::super::error::Fault;
use super::super::tree::{Entry, Form, Kind, Node, Tree};

/// Whether `entry` can be taken out of `map` by itself: always.
pub(in crate::values) const fn removable(_: &Node, _: &Entry) -> bool {
    true
}

/// `target`, changed.
pub(in crate::values) fn write(
    target: &Tree<'_>,
    source: Option<&Tree<'_>>,
    plan: &Plan<'_>,
) -> Result<String, Fault> {
    let first = target.root.first(&|node| !node.entries().is_empty());
    let colon = first.and_then(|map| {
        let Entry { key, value } = map.entries().first()?;
        target.text.get(key.end..value.start)
    });
    let mut writer = Writer {
        text: target.text,
        source: source.map_or("", |tree| tree.text),
        plan,
        edits: Edits::default(),
        newline: line_break(target.text),
        colon: colon.filter(|colon| !colon.contains('\n')).unwrap_or(": "),
        unit: unit(target.text, &target.root, "").unwrap_or("  "),
        // What is written on one line stays so.
        lines: target.root.children().next().is_none() || target.text.trim().contains('\n'),
    };
    writer.visit(&target.root, "")?;
    writer.edits.apply(target.text)
}

/// By how much something is indented more than what it is in.
fn unit<'t>(text: &'t str, node: &Node, outer: &'t str) -> Option<&'t str> {
    for child in node.children() {
        if let Some(indent) = indentation(text, child.start)
            && let Some(unit) = indent.strip_prefix(outer).filter(|unit| !unit.is_empty())
        {
            return Some(unit);
        }
    }
    node.children().find_map(|child| {
        let outer = indentation(text, child.start).unwrap_or(outer);
        unit(text, child, outer)
    })
}

struct Writer<'a> {
    text: &'a str,
    source: &'a str,
    plan: &'a Plan<'a>,
    edits: Edits,
    newline: &'static str,
    /// What stands between a key and its value.
    colon: &'a str,
    /// What one level is indented by.
    unit: &'a str,
    /// Whether the target has more than one line.
    lines: bool,
}

impl Writer<'_> {
    /// Writes the changes in `node`, which is on a line that is indented by `indent`.
    fn visit(&mut self, node: &Node, indent: &str) -> Result<(), Fault> {
        let change = self.plan.at(node);
        if let Some(Change::Replace(new)) = change {
            let mut value = self.value(new, indent)?;
            if node.start == node.end && !self.text.ends_with('\n') {
                value.push_str(self.newline);
            }
            if node.start == node.end && self.text.ends_with('\n') {
                // Only blanks: they are the file's last line break.
                return self.edits.put(0..0, value);
            }
            return self.edits.put(node.start..node.end, value);
        }
        let (text, removed) = (
            self.text,
            |entry: &Entry| matches!(change, Some(Change::Extend { remove, .. }) if remove.contains(&entry.key.id)),
        );
        match &node.kind {
            Kind::List(items) => {
                for item in items {
                    self.visit(item, indentation(text, item.start).unwrap_or(indent))?;
                }
            }
            Kind::Map(entries) => {
                for entry in entries.iter().filter(|entry| !removed(entry)) {
                    self.visit(&entry.value, indentation(text, entry.key.start).unwrap_or(indent))?;
                }
            }
            Kind::Scalar(_) | Kind::Alias(_) => {}
        }
        let Some(Change::Extend { add, remove }) = change else {
            return Ok(());
        };
        if node.entries().is_empty() {
            let entries = add.iter().map(|(name, value)| (self.name(name), value));
            let value = self.map(entries.collect(), indent)?;
            return self.edits.put(node.start..node.end, value);
        }
        let inner = entry_indentation(text, node).unwrap_or(indent);
        let mut added = Vec::new();
        for (name, value) in add {
            let value = self.value(value, inner)?;
            added.push(format!("{}{}{value}", self.name(name), self.colon));
        }
        remove_from_braces(&mut self.edits, node, remove)?;
        add_to_braces(&mut self.edits, text, node, remove, &added)
    }

    fn name(&self, name: &Name<'_>) -> String {
        match name {
            Name::Source(node) => self.raw(node).to_owned(),
            Name::Text(text) => quoted(text),
        }
    }

    fn raw(&self, node: &Node) -> &str {
        self.source.get(node.start..node.end).unwrap_or_default()
    }

    /// A value on a line that is indented by `indent`.
    fn value(&self, new: &New<'_>, indent: &str) -> Result<String, Fault> {
        let node = match new {
            New::Scalar(Scalar::Text(text)) => return Ok(quoted(text)),
            New::Scalar(scalar) => return Ok(scalar.meaning().text().to_owned()),
            New::Map(entries) => {
                let entries = entries.iter().map(|(name, value)| (self.name(name), value));
                return self.map(entries.collect(), indent);
            }
            New::Source(node) => node,
        };
        let raw = self.raw(node);
        if node.form != Form::Flow || !raw.contains('\n') {
            return Ok(raw.to_owned());
        }
        let inner = self.inner(indent)?;
        match &node.kind {
            Kind::List(items) => {
                let items = items.iter().map(|item| self.value(&New::Source(item), &inner));
                self.lines("[", items.collect::<Result<_, _>>()?, "]", indent)
            }
            _ => {
                let pairs = node.entries().iter().map(|Entry { key, value }| {
                    let value = self.value(&New::Source(value), &inner)?;
                    Ok(format!("{}{}{value}", self.raw(key), self.colon))
                });
                self.lines("{", pairs.collect::<Result<_, _>>()?, "}", indent)
            }
        }
    }

    fn map(&self, entries: Vec<(String, &New<'_>)>, indent: &str) -> Result<String, Fault> {
        let inner = self.inner(indent)?;
        let pairs = entries.into_iter().map(|(name, value)| {
            let value = self.value(value, &inner)?;
            Ok(format!("{name}{}{value}", self.colon))
        });
        self.lines("{", pairs.collect::<Result<_, _>>()?, "}", indent)
    }

    /// The indentation one level below `indent`.
    fn inner(&self, indent: &str) -> Result<String, Fault> {
        self.edits.spend(indent.len() + self.unit.len())?;
        Ok(format!("{indent}{}", self.unit))
    }

    /// Parts between brackets, each on its own line unless the target has only one.
    fn lines(&self, open: &str, parts: Vec<String>, close: &str, indent: &str) -> Result<String, Fault> {
        if parts.is_empty() {
            return Ok(format!("{open}{close}"));
        }
        if !self.lines {
            let gap = if self.colon.ends_with(' ') { ", " } else { "," };
            return Ok(format!("{open}{}{close}", parts.join(gap)));
        }
        let newline = self.newline;
        let inner = format!("{newline}{}", self.inner(indent)?);
        self.edits.spend(inner.len().saturating_mul(parts.len()))?;
        let parts = parts.join(&format!(",{inner}"));
        Ok(format!("{open}{inner}{parts}{newline}{indent}{close}"))
    }
}

/// `text` in double quotes.
pub(in crate::values) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
