//! What has to change in a target so that its keys say what the source says, as little as possible.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Scalar;
use super::error::{Fault, Problem};
use super::path::{KeyPath, Segment};
use super::tree::{Aliases, Entry, Finder, Found, Kind, Meaning, Node, Tree, Value};

/// A value that is to be written.
#[derive(Clone, Debug)]
pub(super) enum New<'s> {
    /// As it stands in the source.
    Source(&'s Node),
    Scalar(&'s Scalar),
    /// Parents of a new key.
    Map(Vec<(Name<'s>, Self)>),
}

/// A key that is to be written.
#[derive(Clone, Debug)]
pub(super) enum Name<'s> {
    /// As it stands in the source.
    Source(&'s Node),
    Text(String),
}

/// What happens to a node of the target.
#[derive(Debug)]
pub(super) enum Change<'s> {
    Replace(New<'s>),
    /// New entries of a map, and the numbers of entries that go.
    Extend {
        add: Vec<(Name<'s>, New<'s>)>,
        remove: HashSet<usize>,
    },
}

impl New<'_> {
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Source(node) => Value::alone(node),
            Self::Scalar(scalar) => Value::Scalar(scalar.meaning()),
            Self::Map(entries) => Value::Map(entries.iter().map(|(k, v)| (k.value(), v.value())).collect()),
        }
    }
}

impl Name<'_> {
    fn value(&self) -> Value {
        match self {
            Self::Source(node) => Value::alone(node),
            Self::Text(text) => Value::text(text),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Source(node) => match &node.kind {
                Kind::Scalar(meaning) => meaning.text(),
                _ => "",
            },
            Self::Text(text) => text,
        }
    }
}

/// Whether an entry of a map of the target can be taken out by itself.
pub(super) type Removable<'a> = &'a dyn Fn(&Node, &Entry) -> bool;

/// All that changes in a target.
#[derive(Debug, Default)]
pub(super) struct Plan<'s> {
    changes: HashMap<usize, Change<'s>>,
}

impl<'s> Plan<'s> {
    /// Sets each key of `target` to what it is in `source`.
    pub(super) fn transfer(
        source: &'s Tree<'_>,
        target: &Tree<'_>,
        keys: &[KeyPath],
        removable: Removable<'_>,
    ) -> Result<Self, Fault> {
        let mut plan = Self::default();
        let from = Finder::new(&source.root, Aliases::Follow);
        let to = Finder::new(&target.root, Aliases::Refuse);
        for key in outermost(keys) {
            let found = from.find(key).map_err(Fault::at_source)?;
            match (found, to.find(key)?) {
                (Found::Missing { .. }, Found::Missing { .. }) => {}
                (Found::Missing { parent, .. }, Found::At(_)) => {
                    let key = key.to_string();
                    return Err(Fault::new(parent.start, Problem::MissingAtSource { key }).at_source());
                }
                (Found::At(node), Found::At(old)) => {
                    if let Some(alias) = node.first(&|n| matches!(n.kind, Kind::Alias(_))) {
                        return Err(Fault::new(alias.start, Problem::Alias).at_source());
                    }
                    plan.level(old, node, removable)?;
                }
                (Found::At(node), Found::Missing { parent, depth }) => {
                    copyable(node)?;
                    plan.add(parent, key, depth, New::Source(node))?;
                }
            }
        }
        plan.guard(&target.root)?;
        Ok(plan)
    }

    /// Sets `key` of `target` to `scalar`.
    pub(super) fn set(target: &Tree<'_>, key: &KeyPath, scalar: &'s Scalar) -> Result<Self, Fault> {
        let mut plan = Self::default();
        match Finder::new(&target.root, Aliases::Refuse).find(key)? {
            Found::At(node) => match &node.kind {
                Kind::Scalar(meaning) if *meaning == scalar.meaning() && node.tag.is_none() => {}
                Kind::Scalar(_) => plan.replace(node, New::Scalar(scalar)),
                _ => {
                    let (key, found) = (key.to_string(), node.describe());
                    return Err(Fault::new(node.start, Problem::NotAScalar { key, found }));
                }
            },
            Found::Missing { parent, depth } => plan.add(parent, key, depth, New::Scalar(scalar))?,
        }
        plan.guard(&target.root)?;
        Ok(plan)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn at(&self, node: &Node) -> Option<&Change<'s>> {
        self.changes.get(&node.id)
    }

    fn replace(&mut self, node: &Node, new: New<'s>) {
        self.changes.insert(node.id, Change::Replace(new));
    }

    /// Makes `old` say what `new` says, by changes as deep in the tree as possible, so that what is equal keeps its layout
    /// and its comments.
    fn level(&mut self, old: &Node, new: &'s Node, removable: Removable<'_>) -> Result<(), Fault> {
        let tag = |node: &Node| node.tag.as_ref().map(|tag| tag.name.clone());
        if tag(old) == tag(new) {
            match (&old.kind, &new.kind) {
                (Kind::Scalar(a), Kind::Scalar(b)) if a == b => return Ok(()),
                (Kind::List(old), Kind::List(new)) if old.len() == new.len() => {
                    let pairs = old.iter().zip(new);
                    return pairs
                        .into_iter()
                        .try_for_each(|(old, new)| self.level(old, new, removable));
                }
                (Kind::Map(entries), Kind::Map(wanted)) => {
                    let levelled = self.level_maps(old, entries, wanted, removable)?;
                    if levelled {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        copyable(new)?;
        self.replace(old, New::Source(new));
        Ok(())
    }

    /// The same for maps; no if one has to be replaced as a whole.
    fn level_maps(
        &mut self,
        map: &Node,
        old: &[Entry],
        new: &'s [Entry],
        removable: Removable<'_>,
    ) -> Result<bool, Fault> {
        let wanted: BTreeMap<Value, &'s Entry> = new.iter().map(|e| (Value::alone(&e.key), e)).collect();
        let mut there = BTreeMap::new();
        let mut remove = HashSet::new();
        for entry in old {
            let key = Value::alone(&entry.key);
            if wanted.contains_key(&key) {
                there.insert(key, entry);
            } else if removable(map, entry) {
                remove.insert(entry.key.id);
            } else {
                return Ok(false);
            }
        }
        if there.is_empty() && !(old.is_empty() && new.is_empty()) {
            return Ok(false);
        }
        let mut add = Vec::new();
        for entry in new {
            match there.get(&Value::alone(&entry.key)) {
                Some(old) => self.level(&old.value, &entry.value, removable)?,
                None => {
                    copyable(&entry.key)?;
                    copyable(&entry.value)?;
                    add.push((Name::Source(&entry.key), New::Source(&entry.value)));
                }
            }
        }
        if !add.is_empty() || !remove.is_empty() {
            self.changes.insert(map.id, Change::Extend { add, remove });
        }
        Ok(true)
    }

    /// Adds `key`, whose first `depth` segments lead to `parent`.
    fn add(&mut self, parent: &Node, key: &KeyPath, depth: usize, new: New<'s>) -> Result<(), Fault> {
        let mut names = Vec::new();
        for (i, segment) in key.segments().iter().enumerate().skip(depth) {
            let Segment::Name(name) = segment else {
                let key = key.head(i + 1);
                return Err(Fault::new(parent.start, Problem::NoSuchItem { key }));
            };
            names.push(name.as_str());
        }
        let start = || {
            if parent.is_null() {
                Change::Replace(New::Map(Vec::new()))
            } else {
                let (add, remove) = (Vec::new(), HashSet::new());
                Change::Extend { add, remove }
            }
        };
        let added = match self.changes.entry(parent.id).or_insert_with(start) {
            Change::Extend { add, .. } | Change::Replace(New::Map(add)) => insert(add, &names, new),
            Change::Replace(_) => false,
        };
        if added {
            return Ok(());
        }
        let key = key.to_string();
        Err(Fault::new(parent.start, Problem::Overlap { key }))
    }

    /// Refuses changes that touch more than they seem to.
    fn guard(&self, root: &Node) -> Result<(), Fault> {
        fn aliases(node: &Node, used: &mut HashSet<usize>) {
            if let Kind::Alias(id) = node.kind {
                used.insert(id);
            }
            node.children().for_each(|child| aliases(child, used));
        }
        if self.is_empty() {
            return Ok(());
        }
        let mut used = HashSet::new();
        aliases(root, &mut used);
        self.guard_node(root, None, &used)
    }

    fn guard_node(&self, node: &Node, shared: Option<usize>, used: &HashSet<usize>) -> Result<(), Fault> {
        let own = node.anchor.filter(|id| used.contains(id)).map(|_| node.begin);
        let shared = shared.or(own);
        if let Some(change) = self.at(node) {
            if let Some(at) = shared {
                return Err(Fault::new(at, Problem::Anchor));
            }
            match change {
                Change::Replace(_) => return unshared(node),
                Change::Extend { remove, .. } => {
                    for entry in node.entries().iter().filter(|e| remove.contains(&e.key.id)) {
                        unshared(&entry.key)?;
                        unshared(&entry.value)?;
                    }
                }
            }
        }
        node.children()
            .try_for_each(|child| self.guard_node(child, shared, used))
    }

    /// What the target means after the changes.
    pub(super) fn expected(&self, node: &Node) -> Value {
        let none = (Vec::new(), HashSet::new());
        let (add, remove) = match self.at(node) {
            Some(Change::Replace(new)) => return new.value(),
            Some(Change::Extend { add, remove }) => (add, remove),
            None => (&none.0, &none.1),
        };
        let value = match &node.kind {
            Kind::Alias(anchor) => Value::Alias(*anchor),
            Kind::Scalar(meaning) => Value::Scalar(meaning.clone()),
            Kind::List(items) => Value::List(items.iter().map(|item| self.expected(item)).collect()),
            Kind::Map(entries) => {
                let kept = entries.iter().filter(|e| !remove.contains(&e.key.id));
                let kept = kept.map(|e| (Value::of(&e.key), self.expected(&e.value)));
                Value::Map(
                    kept.chain(add.iter().map(|(k, v)| (k.value(), v.value())))
                        .collect(),
                )
            }
        };
        value.of_node(node)
    }
}

/// The keys that do not lie within another one.
fn outermost(keys: &[KeyPath]) -> impl Iterator<Item = &KeyPath> {
    keys.iter().enumerate().filter_map(|(i, key)| {
        let outer = |(j, other): (usize, &KeyPath)| key.is_within(other) && (key != other || j < i);
        (!keys.iter().enumerate().any(outer)).then_some(key)
    })
}

/// Adds a value below `names`. No if there is a value already.
fn insert<'s>(entries: &mut Vec<(Name<'s>, New<'s>)>, names: &[&str], new: New<'s>) -> bool {
    let Some((first, rest)) = names.split_first() else {
        return false;
    };
    let there = entries.iter_mut().find(|(name, _)| name.text() == *first);
    match (there, rest.is_empty()) {
        (Some((_, New::Map(entries))), false) => insert(entries, rest, new),
        (Some(_), _) => false,
        (None, true) => {
            entries.push((Name::Text((*first).to_owned()), new));
            true
        }
        (None, false) => {
            let mut below = Vec::new();
            let added = insert(&mut below, rest, new);
            entries.push((Name::Text((*first).to_owned()), New::Map(below)));
            added
        }
    }
}

/// Refuses to copy what would not mean the same in another file.
fn copyable(node: &Node) -> Result<(), Fault> {
    let bound = |n: &Node| matches!(n.kind, Kind::Alias(_)) || (n.anchor.is_some() && n.id != node.id);
    match node.first(&bound) {
        None => Ok(()),
        Some(bound) => {
            let alias = matches!(bound.kind, Kind::Alias(_));
            let problem = if alias { Problem::Alias } else { Problem::Anchor };
            Err(Fault::new(bound.begin, problem).at_source())
        }
    }
}

/// Refuses to take away what others refer to, or what refers to others.
fn unshared(node: &Node) -> Result<(), Fault> {
    match node.first(&|n| n.anchor.is_some() || matches!(n.kind, Kind::Alias(_))) {
        None => Ok(()),
        Some(shared) if shared.anchor.is_some() => Err(Fault::new(shared.begin, Problem::Anchor)),
        Some(shared) => Err(Fault::new(shared.begin, Problem::Alias)),
    }
}

impl Scalar {
    pub(super) fn meaning(&self) -> Meaning {
        match self {
            Self::Text(text) => Meaning::Text(text.clone()),
            Self::Number(number) => Meaning::Other(number.clone()),
            Self::Truth(truth) => Meaning::Truth(*truth),
            Self::Null => Meaning::Null,
        }
    }
}
