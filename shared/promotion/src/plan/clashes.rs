//! What can't all be done, because it is about the same place of a target (rule 8), or about places that lie inside one another.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::candidates::Candidate;
use super::decide::{Decided, content, entry};
use super::{Content, Entry, Facts, PlanError};
use crate::{Base, PathInRepo};

/// A candidate, and what it becomes at the target.
#[derive(Debug)]
struct Placed<'a> {
    candidate: Candidate<'a>,
    to: PathInRepo,
}

/// Those that can all be done.
pub(super) fn without<'a>(
    candidates: Vec<Candidate<'a>>,
    facts: &Facts,
    decided: &mut Decided<'_>,
) -> Result<Vec<Candidate<'a>>, PlanError> {
    let mut all: Vec<Placed<'_>> = candidates
        .into_iter()
        .map(|candidate| Placed {
            to: candidate.to(),
            candidate,
        })
        .collect();
    all.sort_by_key(|placed| placed.candidate.origin.number);
    let all = one_source_each(all, facts, decided)?;
    let all = apart(all, decided);
    Ok(all.into_iter().map(|placed| placed.candidate).collect())
}

/// Rule 8: of several sources for one target the last in policy order, and within a flow the last by name. A source that is
/// gone is no rival of one that is there: a component that moved from one source to the other is not deleted.
fn one_source_each<'a>(
    all: Vec<Placed<'a>>,
    facts: &Facts,
    decided: &mut Decided<'_>,
) -> Result<Vec<Placed<'a>>, PlanError> {
    // They come in the order of precedence, so the last one seen wins.
    let mut winners: HashMap<Place<'_>, &Placed<'_>> = HashMap::with_capacity(all.len());
    let mut contested: BTreeMap<Place<'_>, Vec<&Placed<'_>>> = BTreeMap::new();
    for placed in &all {
        if let Some(rival) = winners.insert(place(placed), placed)
            && rival.candidate.origin.from != placed.candidate.origin.from
        {
            contested
                .entry(place(placed))
                .or_insert_with(|| vec![rival])
                .push(placed);
        }
    }
    if contested.is_empty() {
        return Ok(all);
    }
    let own = content(facts, &Base::default())?;
    for (to, rivals) in contested {
        let mut winner: Option<(&Placed<'_>, Standing<'_>)> = None;
        let mut losers = Vec::new();
        for rival in rivals {
            let rival = (rival, source(own, rival)?);
            let beaten = match winner {
                Some((_, there)) if there != Standing::Gone && rival.1 == Standing::Gone => Some(rival),
                beaten => {
                    winner = Some(rival);
                    beaten
                }
            };
            losers.extend(beaten);
        }
        let Some((winner, content)) = winner else { continue };
        winners.insert(to, winner);
        for (loser, other) in losers {
            if other != content {
                decided.notes.push(format!(
                    "{} has two sources in this change: {} is taken and {} is not ({}).",
                    to.1,
                    winner.candidate.origin.from,
                    loser.candidate.origin.from,
                    if other == Standing::Gone {
                        "which is gone"
                    } else {
                        "the later in the policy wins"
                    },
                ));
            }
        }
    }
    let kept: Vec<bool> = all
        .iter()
        .map(|placed| {
            winners
                .get(&place(placed))
                .is_none_or(|winner| winner.candidate.origin.from == placed.candidate.origin.from)
        })
        .collect();
    decided.notes.sort();
    decided.notes.dedup();
    let mut kept = kept.into_iter();
    Ok(all.into_iter().filter(|_| kept.next().unwrap_or(true)).collect())
}

/// One path in one branch.
type Place<'c> = (&'c Base, &'c PathInRepo);

fn place<'c>(placed: &'c Placed<'_>) -> Place<'c> {
    (&placed.candidate.way.base, &placed.to)
}

/// What stands at the source of a placed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing<'f> {
    Gone,
    Tree(&'f Entry),
    File(&'f super::File),
}

fn source<'f>(own: &'f Content, placed: &Placed<'_>) -> Result<Standing<'f>, PlanError> {
    if placed.candidate.travels_by_keys() {
        let file = own.files.get(&placed.candidate.origin.from);
        return Ok(
            match file.ok_or_else(|| PlanError::MissingFact(placed.candidate.origin.from.clone()))? {
                super::File::Absent => Standing::Gone,
                file => Standing::File(file),
            },
        );
    }
    Ok(match entry(own, &placed.candidate.origin.from)? {
        Entry::Absent => Standing::Gone,
        entry => Standing::Tree(entry),
    })
}

/// Two components of which one lies inside the other at the target can't both be made right: neither goes.
fn apart<'a>(all: Vec<Placed<'a>>, decided: &mut Decided<'_>) -> Vec<Placed<'a>> {
    let bases: BTreeSet<&Base> = all.iter().map(|placed| &placed.candidate.way.base).collect();
    if bases.len() < 2 {
        return apart_in_one_tree(all, decided);
    }
    // What is in different trees is never in each other's way.
    let mut kept = Vec::with_capacity(all.len());
    let mut rest = all;
    for base in bases {
        let (here, elsewhere): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|placed| placed.candidate.way.base == *base);
        kept.extend(apart_in_one_tree(here, decided));
        rest = elsewhere;
    }
    kept
}

fn apart_in_one_tree<'a>(all: Vec<Placed<'a>>, decided: &mut Decided<'_>) -> Vec<Placed<'a>> {
    if !any_lies_inside_another(&all) {
        return all;
    }
    let mut clashes: BTreeMap<PathInRepo, PathInRepo> = BTreeMap::new();
    {
        let targets: HashMap<&str, &PathInRepo> = all
            .iter()
            .map(|placed| (placed.to.as_str(), &placed.to))
            .collect();
        // Most components share their parent directories, so each of those is looked up once.
        let mut above: HashMap<&str, Option<&PathInRepo>> = HashMap::new();
        for inner in targets.values() {
            if let Some(outer) = nearest(inner.as_str(), &targets, &mut above) {
                clashes.insert((*inner).clone(), outer.clone());
                clashes.entry(outer.clone()).or_insert_with(|| (*inner).clone());
            }
        }
    }
    if clashes.is_empty() {
        return all;
    }
    // Which inner path an outer one is told of must not depend on the order of a hash map.
    let inner_to_outer: Vec<(PathInRepo, PathInRepo)> = clashes
        .iter()
        .filter(|(path, other)| path.is_within(other))
        .map(|(inner, outer)| (inner.clone(), outer.clone()))
        .collect();
    for (inner, outer) in inner_to_outer.into_iter().rev() {
        if clashes.get(&outer).is_some_and(|other| other.is_within(&outer)) {
            clashes.insert(outer, inner);
        }
    }
    all.into_iter()
        .filter(|placed| match clashes.get(&placed.to) {
            None => true,
            Some(other) => {
                decided.refuse(
                    placed.candidate,
                    format!("one of this and {other} lies inside the other, so they can't both be promoted"),
                );
                false
            }
        })
        .collect()
}

/// Whether some target is a directory above another one. There are few such directories, however many targets there are.
fn any_lies_inside_another(all: &[Placed<'_>]) -> bool {
    let mut above = HashSet::new();
    for placed in all {
        let mut path = placed.to.as_str();
        while let Some((directory, _)) = path.rsplit_once('/') {
            if !above.insert(directory) {
                break;
            }
            path = directory;
        }
    }
    all.iter().any(|placed| above.contains(placed.to.as_str()))
}

/// The nearest of `targets` that lies above `path`.
fn nearest<'a>(
    path: &'a str,
    targets: &HashMap<&'a str, &'a PathInRepo>,
    above: &mut HashMap<&'a str, Option<&'a PathInRepo>>,
) -> Option<&'a PathInRepo> {
    let (mut directory, _) = path.rsplit_once('/')?;
    let mut climbed = Vec::new();
    let found = loop {
        if let Some(known) = above.get(directory) {
            break *known;
        }
        climbed.push(directory);
        if let Some(target) = targets.get(directory) {
            break Some(*target);
        }
        match directory.rsplit_once('/') {
            Some((parent, _)) => directory = parent,
            None => break None,
        }
    };
    above.extend(climbed.into_iter().map(|directory| (directory, found)));
    found
}
