//! Which candidates become changes of a target (rules 4 to 8).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::candidates::{Candidate, Refused, StepKey};
use super::compare::{Comparison, Selectors, files, trees};
use super::{Content, Entry, Facts, Found, PlanError, Skipped, Sync};
use crate::{Base, PathInRepo};

/// What is to be done and what is not.
#[derive(Debug, Default)]
pub(super) struct Decided<'a> {
    /// Per pull request: the component's name and what becomes of it at one target.
    pub(super) syncs: BTreeMap<StepKey, Vec<(&'a str, Sync)>>,
    pub(super) refused: Vec<Refused>,
    /// Waves, by flow and place, that something can't go to as long as a repository or branch can't be read: why.
    pub(super) blocked: BTreeMap<(usize, usize), String>,
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
    let candidates = reachable(candidates, facts, &mut decided)?;
    let candidates = allowed(candidates, facts, &mut decided);
    let candidates = one_source_each(candidates, facts, &mut decided)?;
    let candidates = apart(candidates, &mut decided);
    let bases = Bases::of(&candidates, facts)?;
    let own = content(facts, &Base::default())?;
    let mut selectors = Selectors::default();
    // Candidates of one component come one after the other, so each source is looked up once.
    let mut last: Option<(Rc<PathInRepo>, &Entry)> = None;
    for candidate in candidates {
        let elsewhere = bases.get(&candidate.base)?;
        let comparison = if candidate.travels_by_keys() {
            files(&candidate, own, elsewhere.content)?
        } else {
            let source = match &last {
                Some((from, source)) if *from == candidate.from => *source,
                _ => {
                    let source = entry(own, &candidate.from)?;
                    last.insert((Rc::clone(&candidate.from), source)).1
                }
            };
            trees(
                &candidate,
                source,
                elsewhere.entry(&candidate.to)?,
                (own, elsewhere.content),
                &mut selectors,
            )?
        };
        match comparison {
            // Another branch is read as it is now, and not as it was at the change. What is equal there may be so because the step is done, and
            // a plan that forgot the step would forget the gates behind it, too. Whoever carries it out sees that nothing is to be done.
            // The same goes for what is taken back.
            Comparison::Possible { is_equal: true, .. }
                if candidate.base.is_own() && facts.change.rollback.is_none() => {}
            Comparison::Possible { tree, keys, .. } => {
                let sync = Sync {
                    from: PathInRepo::clone(&candidate.from),
                    to: candidate.to,
                    tree,
                    selection: candidate.flow.selection.clone(),
                    keys,
                };
                let syncs = decided.syncs.entry(candidate.step).or_default();
                syncs.push((candidate.component.title(), sync));
            }
            Comparison::Refused(reason) => decided.refuse(&candidate, reason),
        }
    }
    Ok(decided)
}

/// What was read where candidates lead, ready for many look-ups.
struct Bases<'f>(BTreeMap<Base, At<'f>>);

struct At<'f> {
    content: &'f Content,
    /// Targets come in no order: a hash is quicker than a search among many paths that begin alike.
    entries: HashMap<&'f str, &'f Entry>,
}

impl<'f> Bases<'f> {
    fn of(candidates: &[Candidate<'_>], facts: &'f Facts) -> Result<Self, PlanError> {
        let mut bases = BTreeMap::new();
        let wanted: BTreeSet<&Base> = candidates.iter().map(|candidate| &*candidate.base).collect();
        for base in wanted {
            let content = content(facts, base)?;
            let entries = content
                .entries
                .iter()
                .map(|(path, entry)| (path.as_str(), entry))
                .collect();
            bases.insert(base.clone(), At { content, entries });
        }
        Ok(Self(bases))
    }

    fn get(&self, base: &Base) -> Result<&At<'f>, PlanError> {
        self.0
            .get(base)
            .ok_or_else(|| PlanError::MissingBase(base.clone()))
    }
}

impl<'f> At<'f> {
    fn entry(&self, path: &PathInRepo) -> Result<&'f Entry, PlanError> {
        let found = self.entries.get(path.as_str()).copied();
        found.ok_or_else(|| PlanError::MissingFact(path.clone()))
    }
}

impl Decided<'_> {
    fn refuse(&mut self, candidate: &Candidate<'_>, reason: String) {
        let skipped = Skipped {
            component: candidate.component.title().to_owned(),
            target: candidate.to.clone(),
            reason,
        };
        self.refused.push((candidate.step, skipped));
    }
}

/// Those that lead to a repository and branch that are there and may be read.
fn reachable<'a>(
    candidates: Vec<Candidate<'a>>,
    facts: &Facts,
    decided: &mut Decided<'_>,
) -> Result<Vec<Candidate<'a>>, PlanError> {
    let mut kept = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        match facts.at.get(&*candidate.base) {
            None => return Err(PlanError::MissingBase(Base::clone(&candidate.base))),
            Some(Found::Unreachable(reason)) => {
                let reason = format!("{}: {reason}", candidate.base);
                let (flow, wave, _) = candidate.step;
                decided
                    .blocked
                    .entry((flow, wave))
                    .or_insert_with(|| reason.clone());
                decided.refuse(&candidate, reason);
            }
            Some(Found::Content(_)) => kept.push(candidate),
        }
    }
    Ok(kept)
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
                .get(&*candidate.component_at)
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
    let mut winners: HashMap<Place<'_>, &Candidate<'_>> = HashMap::with_capacity(candidates.len());
    let mut contested: BTreeMap<Place<'_>, Vec<&Candidate<'_>>> = BTreeMap::new();
    for candidate in &candidates {
        if let Some(rival) = winners.insert(place(candidate), candidate)
            && rival.from != candidate.from
        {
            contested
                .entry(place(candidate))
                .or_insert_with(|| vec![rival])
                .push(candidate);
        }
    }
    if contested.is_empty() {
        return Ok(candidates);
    }
    let own = content(facts, &Base::default())?;
    for (to, rivals) in contested {
        let mut winner: Option<(&Candidate<'_>, Standing<'_>)> = None;
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
                    winner.from,
                    loser.from,
                    if other == Standing::Gone {
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
                .get(&place(candidate))
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

/// One path in one branch.
type Place<'c> = (&'c Base, &'c PathInRepo);

fn place<'c>(candidate: &'c Candidate<'_>) -> Place<'c> {
    (&candidate.base, &candidate.to)
}

/// What stands at the source of a candidate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing<'f> {
    Gone,
    Tree(&'f Entry),
    File(&'f super::File),
}

fn source<'f>(own: &'f Content, candidate: &Candidate<'_>) -> Result<Standing<'f>, PlanError> {
    if candidate.travels_by_keys() {
        let file = own.files.get(&*candidate.from);
        return Ok(
            match file.ok_or_else(|| PlanError::MissingFact(PathInRepo::clone(&candidate.from)))? {
                super::File::Absent => Standing::Gone,
                file => Standing::File(file),
            },
        );
    }
    Ok(match entry(own, &candidate.from)? {
        Entry::Absent => Standing::Gone,
        entry => Standing::Tree(entry),
    })
}

/// Two components of which one lies inside the other at the target can't both be made right: neither goes.
fn apart<'a>(candidates: Vec<Candidate<'a>>, decided: &mut Decided<'_>) -> Vec<Candidate<'a>> {
    let bases: BTreeSet<Rc<Base>> = candidates
        .iter()
        .map(|candidate| Rc::clone(&candidate.base))
        .collect();
    if bases.len() < 2 {
        return apart_in_one_tree(candidates, decided);
    }
    // What is in different trees is never in each other's way.
    let mut kept = Vec::with_capacity(candidates.len());
    let mut rest = candidates;
    for base in bases {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|candidate| candidate.base == base);
        kept.extend(apart_in_one_tree(here, decided));
        rest = elsewhere;
    }
    kept
}

fn apart_in_one_tree<'a>(candidates: Vec<Candidate<'a>>, decided: &mut Decided<'_>) -> Vec<Candidate<'a>> {
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

fn content<'f>(facts: &'f Facts, base: &Base) -> Result<&'f Content, PlanError> {
    match facts.at.get(base) {
        Some(Found::Content(content)) => Ok(content),
        Some(Found::Unreachable(_)) | None => Err(PlanError::MissingBase(base.clone())),
    }
}

fn entry<'f>(content: &'f Content, path: &PathInRepo) -> Result<&'f Entry, PlanError> {
    content
        .entries
        .get(path)
        .ok_or_else(|| PlanError::MissingFact(path.clone()))
}
