//! Questions about history that are answered from what is here, or not at all.
//!
//! A partial mirror ends somewhere. What lies beyond is asked for ([`Objects::need_history`]) when the answer depends on it; it is never
//! taken for absent. Commits are looked at from the newest on, so that little of a long history is read, but no answer depends on a date.

use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use git2::Oid;

use crate::objects::{Objects, RawCommit};
use crate::read::ReadError;

/// Reached from the first of the two commits.
const ONE: u8 = 1;
/// Reached from the second.
const OTHER: u8 = 2;
const BOTH: u8 = ONE | OTHER;

/// What a walk is for.
#[derive(Clone, Copy)]
struct Aim {
    /// Whether a commit with this paint that is still to be looked at keeps the walk going.
    goes_on: fn(u8) -> bool,
    /// Whether one that is not here does so, too: something that is still to come may make it one that does not matter.
    minds_absent: bool,
    /// The walk ends when this one is reached from both.
    until: Option<Oid>,
}

/// Two histories, painted from their heads down for as far as the aim says.
#[derive(Default)]
struct Painted {
    /// What each commit that was seen is reached from.
    paint: HashMap<Oid, u8>,
    commits: HashMap<Oid, RawCommit>,
    /// Commits that are not here.
    absent: BTreeSet<Oid>,
    /// To be looked at, the newest first.
    queue: BinaryHeap<(i64, Oid)>,
    /// Those that keep the walk going.
    waiting: HashSet<Oid>,
}

impl Painted {
    /// Paints the ancestors of `one` and `other`, both included.
    fn walk(objects: &Objects<'_>, one: Oid, other: Oid, aim: Aim) -> Result<Self, ReadError> {
        let mut this = Self::default();
        this.reach(objects, one, ONE, aim)?;
        this.reach(objects, other, OTHER, aim)?;
        while !this.waiting.is_empty() && aim.until.is_none_or(|until| this.paint(until) != BOTH) {
            let Some((_, id)) = this.queue.pop() else {
                break;
            };
            this.waiting.remove(&id);
            let colour = this.paint(id);
            let parents = this.commits.get(&id).map(|commit| commit.parents.clone());
            for parent in parents.unwrap_or_default() {
                this.reach(objects, parent, colour, aim)?;
            }
        }
        Ok(this)
    }

    fn paint(&self, id: Oid) -> u8 {
        self.paint.get(&id).copied().unwrap_or(0)
    }

    fn reach(&mut self, objects: &Objects<'_>, id: Oid, colour: u8, aim: Aim) -> Result<(), ReadError> {
        let before = self.paint(id);
        let paint = before | colour;
        if paint == before {
            return Ok(());
        }
        self.paint.insert(id, paint);
        if before == 0 {
            match objects.find_commit(id)? {
                Some(commit) => {
                    self.commits.insert(id, commit);
                }
                None if objects.is_partial() => {
                    self.absent.insert(id);
                }
                // Tells what is damaged.
                None => drop(objects.parent(id)?),
            }
        }
        let commit = self.commits.get(&id);
        if (aim.goes_on)(paint) && (commit.is_some() || aim.minds_absent) {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
        }
        if let Some(commit) = commit {
            // Again, if it had fewer colours before: its ancestors have to learn of it.
            self.queue.push((commit.when, id));
        }
        Ok(())
    }

    /// Gives the ancestors that were seen what a walk that ended early has not come to give them.
    fn spread(&mut self) {
        let mut todo: Vec<Oid> = self.with(BOTH).collect();
        while let Some(id) = todo.pop() {
            let parents = self.commits.get(&id).map(|commit| commit.parents.clone());
            for parent in parents.unwrap_or_default() {
                if let Some(paint) = self.paint.get_mut(&parent)
                    && *paint != BOTH
                {
                    *paint = BOTH;
                    todo.push(parent);
                }
            }
        }
    }

    /// Commits that are not here and that have such a paint.
    fn beyond(&self, matters: fn(u8) -> bool) -> Vec<Oid> {
        let matters = |id: &Oid| matters(self.paint(*id));
        self.absent.iter().copied().filter(matters).collect()
    }

    fn with(&self, paint: u8) -> impl Iterator<Item = Oid> {
        self.commits
            .keys()
            .copied()
            .filter(move |id| self.paint(*id) == paint)
    }
}

/// Whether `commit` is `of` or comes after it. Both are here.
pub(crate) fn is_descendant(objects: &Objects<'_>, commit: Oid, of: Oid) -> Result<bool, ReadError> {
    if commit == of {
        return Ok(true);
    }
    // An ancestor of `of` does not come after it, nor does any ancestor of that: only what is reached from `commit` alone is followed, until
    // it runs into `of` itself.
    let aim = Aim {
        goes_on: |paint| paint == ONE,
        minds_absent: true,
        until: Some(of),
    };
    let painted = Painted::walk(objects, commit, of, aim)?;
    if painted.paint(of) == BOTH {
        return Ok(true);
    }
    let beyond = painted.beyond(|paint| paint == ONE);
    if beyond.is_empty() {
        Ok(false)
    } else {
        Err(objects.need_history(beyond))
    }
}

/// `from` and the commits before it by first parents, for as long as they come after `until`: at most `most` of them. Both are here.
pub(crate) fn line(
    objects: &Objects<'_>,
    from: Oid,
    until: Oid,
    most: usize,
) -> Result<Vec<(Oid, RawCommit)>, ReadError> {
    let aim = Aim {
        goes_on: |paint| paint == ONE,
        minds_absent: false,
        until: None,
    };
    let mut painted = Painted::walk(objects, from, until, aim)?;
    let mut children: HashMap<Oid, Vec<Oid>> = HashMap::new();
    for id in painted.with(ONE) {
        for parent in painted.commits.get(&id).iter().flat_map(|commit| &commit.parents) {
            children.entry(*parent).or_default().push(id);
        }
    }
    let mut after = HashSet::new();
    let mut todo = vec![until];
    while let Some(id) = todo.pop() {
        for child in children.get(&id).into_iter().flatten() {
            if after.insert(*child) {
                todo.push(*child);
            }
        }
    }
    let is_certain = painted.beyond(|paint| paint == ONE).is_empty();
    let mut line = Vec::new();
    let mut next = Some(from);
    while let Some(id) = next
        && line.len() < most
        && (after.contains(&id) || !is_certain && id != until && is_descendant(objects, id, until)?)
    {
        let commit = match painted.commits.remove(&id) {
            Some(commit) => commit,
            None => objects.parent(id)?,
        };
        next = commit.parents.first().copied();
        line.push((id, commit));
    }
    Ok(line)
}

/// How many commits `head` has that `base` has not, and the last commit that both have, if there is any.
pub(crate) fn ahead(objects: &Objects<'_>, head: Oid, base: Oid) -> Result<(u64, Option<Oid>), ReadError> {
    let aim = Aim {
        goes_on: |paint| paint != BOTH,
        minds_absent: true,
        until: None,
    };
    let mut painted = Painted::walk(objects, head, base, aim)?;
    painted.spread();
    let beyond = painted.beyond(|paint| paint != BOTH);
    if !beyond.is_empty() {
        return Err(objects.need_history(beyond));
    }
    let count = painted.with(ONE).count() as u64;
    // Common commits that another common one does not come after.
    let common: BTreeSet<Oid> = painted.with(BOTH).collect();
    let covered: BTreeSet<Oid> = common
        .iter()
        .filter_map(|id| painted.commits.get(id))
        .flat_map(|commit| commit.parents.iter().copied())
        .collect();
    let last = common
        .iter()
        .filter(|id| !covered.contains(id))
        .filter_map(|id| Some((painted.commits.get(id)?.when, *id)))
        .max();
    // All common ones may be beyond what is here.
    match (last, painted.beyond(|paint| paint == BOTH)) {
        (Some((_, last)), _) => Ok((count, Some(last))),
        (None, beyond) if beyond.is_empty() => Ok((count, None)),
        (None, beyond) => Err(objects.need_history(beyond)),
    }
}

/// The commits from `head` on that are here without all of their parents, down to `known`, whose own are known.
pub(crate) fn ends(objects: &Objects<'_>, head: Oid, known: Option<Oid>) -> Result<BTreeSet<Oid>, ReadError> {
    let aim = Aim {
        goes_on: if known.is_some() {
            |paint| paint == ONE
        } else {
            |_| true
        },
        minds_absent: false,
        until: None,
    };
    let painted = Painted::walk(objects, head, known.unwrap_or(head), aim)?;
    Ok(painted
        .commits
        .iter()
        .filter(|(_, commit)| {
            commit
                .parents
                .iter()
                .any(|parent| painted.absent.contains(parent))
        })
        .map(|(id, _)| *id)
        .collect())
}

/// Whether a commit is here without all of its parents.
pub(crate) fn is_end(objects: &Objects<'_>, commit: Oid) -> Result<bool, ReadError> {
    Ok(objects
        .find_commit(commit)?
        .is_some_and(|commit| commit.parents.iter().any(|parent| !objects.has(*parent))))
}
