//! Which candidates become changes of a target (rules 4 to 8).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::candidates::{Candidate, Refused, StepKey};
use super::{Entry, Facts, PlanError, Skipped, Sync};
use crate::{PathInRepo, TreeOid};

/// What is to be done and what is not.
#[derive(Debug, Default)]
pub(super) struct Decided<'a> {
    /// Per pull request: the component's name and what becomes of it at one target.
    pub(super) syncs: BTreeMap<StepKey, Vec<(&'a str, Sync)>>,
    pub(super) refused: Vec<Refused>,
    pub(super) notes: Vec<String>,
}

pub(super) fn decide<'a>(
    candidates: Vec<Candidate<'a>>,
    refused: Vec<Refused>,
    facts: &Facts,
) -> Result<Decided<'a>, PlanError> {
    let mut decided = Decided {
        refused,
        ..Decided::default()
    };
    let candidates = allowed(candidates, facts, &mut decided);
    let candidates = one_source_each(candidates, facts, &mut decided)?;
    let candidates = apart(candidates, &mut decided);
    // Candidates of one component come one after the other, so each source is looked up once. Their targets come in no order: a hash is
    // quicker than a search among many paths that begin alike.
    let entries: HashMap<&str, &Entry> = facts
        .entries
        .iter()
        .map(|(path, entry)| (path.as_str(), entry))
        .collect();
    let find = |path: &PathInRepo| {
        let found = entries.get(path.as_str()).copied();
        found.ok_or_else(|| PlanError::MissingFact(path.clone()))
    };
    let mut last: Option<(Rc<PathInRepo>, &Entry)> = None;
    for candidate in candidates {
        let source = match &last {
            Some((from, source)) if *from == candidate.from => *source,
            _ => {
                last.insert((Rc::clone(&candidate.from), find(&candidate.from)?))
                    .1
            }
        };
        match compare(&candidate, source, find(&candidate.to)?) {
            Comparison::Equal => {}
            Comparison::Differs(tree) => {
                let sync = Sync {
                    from: PathInRepo::clone(&candidate.from),
                    to: candidate.to,
                    tree,
                };
                let syncs = decided.syncs.entry(candidate.step).or_default();
                syncs.push((candidate.component.name, sync));
            }
            Comparison::NoDirectory(path) => decided.refuse(
                &candidate,
                format!(
                    "a file, symlink or submodule stands at {path}, where the component's directory should be"
                ),
            ),
        }
    }
    Ok(decided)
}

impl Decided<'_> {
    fn refuse(&mut self, candidate: &Candidate<'_>, reason: String) {
        let skipped = Skipped {
            component: candidate.component.name.to_owned(),
            target: candidate.to.clone(),
            reason,
        };
        self.refused.push((candidate.step, skipped));
    }
}

/// Rule 4: those that the component's own policy lets go there.
fn allowed<'a>(
    candidates: Vec<Candidate<'a>>,
    facts: &Facts,
    decided: &mut Decided<'_>,
) -> Vec<Candidate<'a>> {
    if facts.component_policies.is_empty() {
        return candidates;
    }
    candidates
        .into_iter()
        .filter(|candidate| {
            let refusal = facts
                .component_policies
                .get(&*candidate.from)
                .and_then(|policy| policy.refusal(candidate.target, &candidate.to));
            match refusal {
                Some(reason) => {
                    decided.refuse(candidate, reason);
                    false
                }
                None => true,
            }
        })
        .collect()
}

/// Rule 8: of several sources for one target the last in policy order, and within a flow the last by name. A source that is
/// gone is no rival of one that is there: a component that moved from one source to the other is not deleted.
fn one_source_each<'a>(
    candidates: Vec<Candidate<'a>>,
    facts: &Facts,
    decided: &mut Decided<'_>,
) -> Result<Vec<Candidate<'a>>, PlanError> {
    // Candidates come in the order of precedence, so the last one seen wins.
    let mut winners: HashMap<&PathInRepo, &Candidate<'_>> = HashMap::with_capacity(candidates.len());
    let mut contested: BTreeMap<&PathInRepo, Vec<&Candidate<'_>>> = BTreeMap::new();
    for candidate in &candidates {
        if let Some(rival) = winners.insert(&candidate.to, candidate)
            && rival.from != candidate.from
        {
            contested
                .entry(&candidate.to)
                .or_insert_with(|| vec![rival])
                .push(candidate);
        }
    }
    if contested.is_empty() {
        return Ok(candidates);
    }
    for (to, rivals) in contested {
        let mut winner: Option<(&Candidate<'_>, &Entry)> = None;
        let mut losers = Vec::new();
        for rival in rivals {
            let rival = (rival, entry(facts, &rival.from)?);
            let beaten = match winner {
                Some((_, there)) if *there != Entry::Absent && *rival.1 == Entry::Absent => Some(rival),
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
                    "{to} has two sources in this change: {} is taken and {} is not ({}).",
                    winner.from,
                    loser.from,
                    if *other == Entry::Absent {
                        "which is gone"
                    } else {
                        "the later in the policy wins"
                    },
                ));
            }
        }
    }
    let kept: Vec<bool> = candidates
        .iter()
        .map(|candidate| {
            winners
                .get(&candidate.to)
                .is_none_or(|winner| winner.from == candidate.from)
        })
        .collect();
    decided.notes.sort();
    decided.notes.dedup();
    let mut kept = kept.into_iter();
    Ok(candidates
        .into_iter()
        .filter(|_| kept.next().unwrap_or(true))
        .collect())
}

/// Two components of which one lies inside the other at the target can't both be made right: neither goes.
fn apart<'a>(candidates: Vec<Candidate<'a>>, decided: &mut Decided<'_>) -> Vec<Candidate<'a>> {
    if !any_lies_inside_another(&candidates) {
        return candidates;
    }
    let mut clashes: BTreeMap<PathInRepo, PathInRepo> = BTreeMap::new();
    {
        let targets: HashMap<&str, &PathInRepo> = candidates
            .iter()
            .map(|candidate| (candidate.to.as_str(), &candidate.to))
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
        return candidates;
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
    candidates
        .into_iter()
        .filter(|candidate| match clashes.get(&candidate.to) {
            None => true,
            Some(other) => {
                decided.refuse(
                    candidate,
                    format!("one of this and {other} lies inside the other, so they can't both be promoted"),
                );
                false
            }
        })
        .collect()
}

/// Whether some target is a directory above another one. There are few such directories, however many targets there are.
fn any_lies_inside_another(candidates: &[Candidate<'_>]) -> bool {
    let mut above = HashSet::new();
    for candidate in candidates {
        let mut path = candidate.to.as_str();
        while let Some((directory, _)) = path.rsplit_once('/') {
            if !above.insert(directory) {
                break;
            }
            path = directory;
        }
    }
    candidates
        .iter()
        .any(|candidate| above.contains(candidate.to.as_str()))
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

enum Comparison<'a> {
    Equal,
    /// The target has to get this tree, or to go.
    Differs(Option<TreeOid>),
    NoDirectory(&'a PathInRepo),
}

/// Rules 5 and 6: what it takes to make the target equal to the source.
fn compare<'a>(candidate: &'a Candidate<'_>, source: &Entry, target: &Entry) -> Comparison<'a> {
    match (source, target) {
        (Entry::NotADirectory, _) => Comparison::NoDirectory(&candidate.from),
        (_, Entry::NotADirectory) => Comparison::NoDirectory(&candidate.to),
        (Entry::Absent, Entry::Absent) => Comparison::Equal,
        (Entry::Tree(source), Entry::Tree(target)) if source == target => Comparison::Equal,
        (Entry::Tree(source), Entry::Tree(_) | Entry::Absent) => Comparison::Differs(Some(source.clone())),
        (Entry::Absent, Entry::Tree(_)) => Comparison::Differs(None),
    }
}

fn entry<'f>(facts: &'f Facts, path: &PathInRepo) -> Result<&'f Entry, PlanError> {
    facts
        .entries
        .get(path)
        .ok_or_else(|| PlanError::MissingFact(path.clone()))
}
