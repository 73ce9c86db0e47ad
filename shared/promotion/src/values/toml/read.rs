//! TOML text as a tree.

use std::ops::Range;

use toml_edit::{Array, Document, InlineTable, Item, Key, Table, Value};

use super::super::MAX_DEPTH;
use super::super::error::{Fault, Problem};
use super::super::tree::{Entry, Form, Kind, Meaning, Node, Tree};

/// Reads `text`, which has no byte order mark.
pub(in crate::values) fn read(text: &str) -> Result<Tree<'_>, Fault> {
    let document = Document::parse(text).map_err(|error| {
        // Its texts are fixed.
        let expected = error
            .message()
            .chars()
            .filter(|c| *c == ' ' || c.is_ascii_graphic());
        let expected = expected.take(200).collect();
        let format = "TOML";
        let offset = error.span().map_or(0, |span| span.start);
        Fault::new(offset, Problem::Syntax { format, expected })
    })?;
    let mut reader = Reader { text, nodes: 0 };
    let mut root = reader.table(document.as_table(), 0, 0)?;
    root.form = Form::Block;
    Ok(Tree { text, root })
}

struct Reader<'t> {
    text: &'t str,
    nodes: usize,
}

impl Reader<'_> {
    fn node(&mut self, range: Range<usize>, form: Form, kind: Kind) -> Node {
        self.nodes += 1;
        Node {
            id: self.nodes,
            begin: range.start,
            start: range.start,
            end: range.end,
            after: None,
            column: 0,
            anchor: None,
            tag: None,
            form,
            kind,
        }
    }

    fn key(&mut self, key: &Key) -> Node {
        let range = key.span().unwrap_or_default();
        let meaning = Meaning::Text(key.get().to_owned());
        let form = match self.text.as_bytes().get(range.start) {
            Some(b'"') => Form::Double,
            Some(b'\'') => Form::Single,
            _ => Form::Plain,
        };
        self.node(range, form, Kind::Scalar(meaning))
    }

    /// A table whose key begins at `at`.
    fn table(&mut self, table: &Table, at: usize, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(at, Problem::TooDeep));
        }
        let mut entries = Vec::new();
        for (name, item) in table {
            let Some(key) = table.key(name) else { continue };
            let key = self.key(key);
            let value = match item {
                Item::Table(table) => self.table(table, key.begin, depth + 1)?,
                Item::ArrayOfTables(tables) => {
                    let mut items = Vec::new();
                    for table in tables {
                        let at = table.span().map_or(key.begin, |span| span.start);
                        items.push(self.table(table, at, depth + 2)?);
                    }
                    let range = key.begin..key.begin;
                    self.node(range, Form::Block, Kind::List(items))
                }
                Item::Value(value) => self.value(value, &key, depth + 1)?,
                Item::None => continue,
            };
            entries.push(Entry { key, value });
        }
        let form = match (table.is_dotted(), table.is_implicit()) {
            (true, _) => Form::Dotted,
            (_, true) => Form::Implicit,
            _ => Form::Block,
        };
        let range = table.span().filter(|_| form == Form::Block).unwrap_or(at..at);
        Ok(self.node(range, form, Kind::Map(entries)))
    }

    /// The value of an entry.
    fn value(&mut self, value: &Value, key: &Node, depth: usize) -> Result<Node, Fault> {
        let mut node = self.alone(value, key.begin, depth)?;
        if node.form != Form::Dotted {
            let gap = self.text.get(key.end..node.start).unwrap_or_default();
            node.after = gap.find('=').map(|at| key.end + at + 1);
        }
        Ok(node)
    }

    fn alone(&mut self, value: &Value, at: usize, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(at, Problem::TooDeep));
        }
        let range = value.span().unwrap_or(at..at);
        let raw = self.text.get(range.clone()).unwrap_or_default();
        let meaning = match value {
            Value::Array(array) => return self.array(array, range, depth),
            Value::InlineTable(table) => return self.inline(table, range, depth),
            Value::String(text) => Meaning::Text(text.value().clone()),
            Value::Boolean(truth) => Meaning::Truth(*truth.value()),
            Value::Integer(_) | Value::Float(_) | Value::Datetime(_) => Meaning::Other(raw.to_owned()),
        };
        let form = match raw.as_bytes() {
            [b'\'', ..] => Form::Single,
            [b'"', ..] => Form::Double,
            _ => Form::Plain,
        };
        Ok(self.node(range, form, Kind::Scalar(meaning)))
    }

    fn array(&mut self, array: &Array, range: Range<usize>, depth: usize) -> Result<Node, Fault> {
        let mut items = Vec::new();
        for item in array {
            let mut item = self.alone(item, range.start, depth + 1)?;
            item.after = Some(item.begin);
            items.push(item);
        }
        Ok(self.node(range, Form::Flow, Kind::List(items)))
    }

    fn inline(&mut self, table: &InlineTable, range: Range<usize>, depth: usize) -> Result<Node, Fault> {
        let mut entries = Vec::new();
        for (name, value) in table {
            let Some(key) = table.key(name) else { continue };
            let key = self.key(key);
            let value = self.value(value, &key, depth + 1)?;
            entries.push(Entry { key, value });
        }
        let form = if table.is_dotted() {
            Form::Dotted
        } else {
            Form::Flow
        };
        Ok(self.node(range, form, Kind::Map(entries)))
    }
}
