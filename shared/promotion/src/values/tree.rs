//! A file as a tree whose every node knows the bytes where it stands. YAML, JSON and TOML are all read into it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use super::error::{Fault, Problem, key_name};
use super::path::{KeyPath, Segment};

/// What a single value means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Meaning {
    Null,
    Truth(bool),
    Text(String),
    /// A number, a date, or what some readers of YAML take for a truth (`yes`), as it is written: `1.0` is not `1`, since a
    /// person who changes one to the other means something.
    Other(String),
}

/// How a node is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Without quotes.
    Plain,
    /// Within `'`.
    Single,
    /// Within `"`.
    Double,
    /// A YAML block scalar. Its node's range begins with the header, and ends behind the content that counts.
    Lines { header: Range<usize> },
    /// Within brackets or braces.
    Flow,
    /// By indentation in YAML, by a header in TOML.
    Block,
    /// A table of TOML that the keys of its entries name.
    Dotted,
    /// A table of TOML that only the headers of the tables in it name.
    Implicit,
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    /// Its number in the order of the file.
    pub(super) id: usize,
    /// The first byte, its tag and anchor included.
    pub(super) begin: usize,
    /// The first byte of the value itself.
    pub(super) start: usize,
    /// The byte after the last one. Equal to `start` for a value that is not written down.
    pub(super) end: usize,
    /// The byte after what introduces it (`:`, `-`, `=`), if it is written in a way that can be edited.
    pub(super) after: Option<usize>,
    /// The column of `start`, from 0; for a block scalar, that of its content.
    pub(super) column: usize,
    pub(super) anchor: Option<usize>,
    pub(super) tag: Option<Tag>,
    pub(super) form: Form,
    pub(super) kind: Kind,
}

/// An explicit type of YAML.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) range: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Alias(usize),
    Scalar(Meaning),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
}

impl Entry {
    /// The byte after its last one.
    pub(super) fn end(&self) -> usize {
        let after = self.value.after.unwrap_or_default();
        self.key.end.max(self.value.end).max(after)
    }
}

impl Node {
    /// What it is called in messages.
    pub(super) const fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Alias(_) => "an alias",
            Kind::Scalar(Meaning::Null) => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    pub(super) const fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Meaning::Null))
    }

    pub(super) fn is_merge(&self) -> bool {
        self.form == Form::Plain && matches!(&self.kind, Kind::Scalar(Meaning::Other(text)) if text == "<<")
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The nodes right below.
    pub(super) fn children(&self) -> impl Iterator<Item = &Self> {
        let items: &[Self] = match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        };
        let entries = self.entries().iter();
        items
            .iter()
            .chain(entries.flat_map(|entry| [&entry.key, &entry.value]))
    }

    /// The first node in the tree, from this one on, for which `wanted` holds.
    pub(super) fn first(&self, wanted: &impl Fn(&Self) -> bool) -> Option<&Self> {
        if wanted(self) {
            return Some(self);
        }
        self.children().find_map(|child| child.first(wanted))
    }
}

impl Meaning {
    /// The text of a value, as a person would write it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Truth(true) => "true",
            Self::Truth(false) => "false",
            Self::Text(text) | Self::Other(text) => text,
        }
    }
}

/// What a node means, without how it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Scalar(Meaning),
    List(Vec<Self>),
    Map(BTreeMap<Self, Self>),
    Alias(usize),
    Anchor(usize, Box<Self>),
    Tag(String, Box<Self>),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Scalar(Meaning::Text(text.to_owned()))
    }

    /// What `node` means.
    pub(super) fn of(node: &Node) -> Self {
        let value = match &node.kind {
            Kind::Alias(anchor) => Self::Alias(*anchor),
            Kind::Scalar(meaning) => Self::Scalar(meaning.clone()),
            Kind::List(items) => Self::List(items.iter().map(Self::of).collect()),
            Kind::Map(entries) => {
                let entries = entries.iter();
                Self::Map(entries.map(|e| (Self::of(&e.key), Self::of(&e.value))).collect())
            }
        };
        value.of_node(node)
    }

    /// With the tag and the anchor of `node`.
    pub(super) fn of_node(self, node: &Node) -> Self {
        let value = match &node.tag {
            Some(tag) => Self::Tag(tag.name.clone(), Box::new(self)),
            None => self,
        };
        match node.anchor {
            Some(id) => Self::Anchor(id, Box::new(value)),
            None => value,
        }
    }

    /// What `node` means by itself: without its own anchor.
    pub(super) fn alone(node: &Node) -> Self {
        match Self::of(node) {
            Self::Anchor(_, value) => *value,
            value => value,
        }
    }
}

/// Refuses a map that has a key twice.
pub(super) fn unique_keys(entries: &[Entry]) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for entry in entries {
        if !seen.insert(Value::alone(&entry.key)) {
            let key = match &entry.key.kind {
                Kind::Scalar(meaning) => key_name(meaning.text()),
                _ => None,
            };
            return Err(Fault::new(entry.key.begin, Problem::DuplicateKey { key }));
        }
    }
    Ok(())
}

/// A file as a tree.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    /// Without a byte order mark.
    pub(super) text: &'t str,
    pub(super) root: Node,
}

/// Where a key path leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'t> {
    At(&'t Node),
    /// Nowhere: `parent`, to which the first `depth` segments lead, has no such key or item.
    Missing {
        parent: &'t Node,
        depth: usize,
    },
}

/// How to go on at an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aliases {
    /// To where its anchor stands, for reading.
    Follow,
    /// Not at all, for writing.
    Refuse,
}

/// Finds keys.
#[derive(Debug)]
pub(super) struct Finder<'t> {
    pub(super) root: &'t Node,
    anchors: HashMap<usize, &'t Node>,
    aliases: Aliases,
}

impl<'t> Finder<'t> {
    pub(super) fn new(root: &'t Node, aliases: Aliases) -> Self {
        fn collect<'t>(node: &'t Node, anchors: &mut HashMap<usize, &'t Node>) {
            if let Some(id) = node.anchor {
                anchors.insert(id, node);
            }
            for child in node.children() {
                collect(child, anchors);
            }
        }
        let mut anchors = HashMap::new();
        collect(root, &mut anchors);
        Self {
            root,
            anchors,
            aliases,
        }
    }

    /// Where `key` leads. A key that only a merge provides is an error, since it is neither here nor missing.
    pub(super) fn find(&self, key: &KeyPath) -> Result<Found<'t>, Fault> {
        let mut node = self.resolve(self.root)?;
        for (depth, segment) in key.segments().iter().enumerate() {
            let parent = node;
            let missing = Ok(Found::Missing { parent, depth });
            if parent.is_null() {
                return missing;
            }
            let child = match segment {
                Segment::Name(name) => self.by_name(parent, name, key, depth)?,
                Segment::Index(_) | Segment::Where { .. } => self.item(parent, segment, key, depth)?,
            };
            match child {
                Some(child) => node = self.resolve(child)?,
                None => return missing,
            }
        }
        Ok(Found::At(node))
    }

    fn resolve(&self, node: &'t Node) -> Result<&'t Node, Fault> {
        match node.kind {
            Kind::Alias(id) => match self.aliases {
                Aliases::Follow => self.anchors.get(&id).copied(),
                Aliases::Refuse => None,
            }
            .ok_or_else(|| Fault::new(node.start, Problem::Alias)),
            _ => Ok(node),
        }
    }

    fn by_name(
        &self,
        map: &'t Node,
        name: &str,
        key: &KeyPath,
        depth: usize,
    ) -> Result<Option<&'t Node>, Fault> {
        let Kind::Map(entries) = &map.kind else {
            return Err(Fault::new(
                map.start,
                Problem::NotAMap {
                    key: key.head(depth),
                    found: map.describe(),
                },
            ));
        };
        let mut found = entries.iter().filter(|entry| is_named(&entry.key, name));
        let first = found.next();
        if let Some(second) = found.next() {
            let key = key.head(depth + 1);
            return Err(Fault::new(second.key.begin, Problem::Ambiguous { key }));
        }
        if first.is_none() {
            for merge in entries.iter().filter(|entry| entry.key.is_merge()) {
                if self.provides(&merge.value, name, &mut BTreeSet::new()) {
                    let key = key.head(depth + 1);
                    return Err(Fault::new(merge.key.begin, Problem::Merged { key }));
                }
            }
        }
        Ok(first.map(|entry| &entry.value))
    }

    /// Whether merging `node` brings a key called `name`. What cannot be told is a yes.
    fn provides(&self, node: &'t Node, name: &str, seen: &mut BTreeSet<usize>) -> bool {
        if !seen.insert(node.id) {
            return false;
        }
        match &node.kind {
            Kind::Alias(id) => self
                .anchors
                .get(id)
                .is_none_or(|node| self.provides(node, name, seen)),
            Kind::List(items) => items.iter().any(|item| self.provides(item, name, seen)),
            Kind::Map(entries) => entries.iter().any(|entry| {
                is_named(&entry.key, name)
                    || (entry.key.is_merge() && self.provides(&entry.value, name, seen))
            }),
            Kind::Scalar(_) => true,
        }
    }

    fn item(
        &self,
        list: &'t Node,
        segment: &Segment,
        key: &KeyPath,
        depth: usize,
    ) -> Result<Option<&'t Node>, Fault> {
        let Kind::List(items) = &list.kind else {
            return Err(Fault::new(
                list.start,
                Problem::NotAList {
                    key: key.head(depth),
                    found: list.describe(),
                },
            ));
        };
        let (name, value) = match segment {
            Segment::Index(index) => return Ok(items.get(*index)),
            Segment::Where { key, value } => (key, value),
            Segment::Name(_) => return Ok(None),
        };
        let mut found = items.iter().filter(|item| {
            let entries = self.resolve(item).map(Node::entries).unwrap_or_default();
            entries.iter().any(|entry| {
                is_named(&entry.key, name)
                    && matches!(
                        self.resolve(&entry.value).map(|node| &node.kind),
                        Ok(Kind::Scalar(meaning)) if meaning.text() == value
                    )
            })
        });
        let first = found.next();
        if let Some(second) = found.next() {
            let key = key.head(depth + 1);
            return Err(Fault::new(second.begin, Problem::Ambiguous { key }));
        }
        Ok(first)
    }
}

/// Whether `key` is written as `name`, quoted or not.
fn is_named(key: &Node, name: &str) -> bool {
    matches!(&key.kind, Kind::Scalar(meaning) if meaning.text() == name)
}
