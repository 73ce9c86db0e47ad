//! Which candidates become changes of a target (rules 4 to 8).

use std::collections::btree_map::{Entry as Slot, Range};
use std::collections::{BTreeMap, HashMap, hash_map};
use std::iter::Peekable;

use super::candidates::{Candidate, Reach, Refused, StepKey};
use super::compare::{Comparison, Selectors, files, trees};
use super::{Content, Entry, Facts, Found, Keys, PlanError, Sync, clashes};
use crate::{Base, PathInRepo, TreeOid};

/// What is to be done and what is not.
#[derive(Debug, Default)]
pub(super) struct Decided<'a> {
    /// Per pull request.
    pub(super) syncs: BTreeMap<StepKey, Bundle<'a>>,
    pub(super) refused: Vec<Refused>,
    /// Waves, by flow and place, that something can't go to as long as a repository or branch can't be read: why.
    pub(super) blocked: BTreeMap<(usize, usize), String>,
    pub(super) notes: Vec<String>,
}

/// What goes into one pull request.
#[derive(Debug, Default)]
pub(super) struct Bundle<'a> {
    /// The components' names, in the order of their paths. One may come more than once.
    pub(super) components: Vec<&'a str>,
    /// What becomes of each at each target.
    pub(super) syncs: Vec<Sync>,
}

/// Decides about candidates of `reach`, be it all or some.
pub(super) fn decide<'r>(
    reach: &'r Reach<'_>,
    (candidates, refused): (Vec<Candidate<'r>>, Vec<Refused>),
    facts: &Facts,
) -> Result<Decided<'r>, PlanError> {
    let mut decided = Decided {
        refused,
        ..Decided::default()
    };
    let candidates = reachable(candidates, facts, &mut decided)?;
    let mut candidates = allowed(candidates, facts, &mut decided);
    if !reach.keeps_apart() {
        candidates = clashes::without(candidates, facts, &mut decided)?;
    }
    let mut wanted = wanted(candidates, facts, &mut decided)?;
    // They were looked up target by target; in a pull request they stand component by component.
    wanted.sort_by_key(|wanted| wanted.candidate.origin.number);
    for Wanted {
        candidate,
        tree,
        keys,
    } in wanted
    {
        let Candidate { origin, way } = candidate;
        let bundle = decided.syncs.entry(way.step).or_default();
        let name = origin.component.title();
        if bundle.components.last() != Some(&name) {
            bundle.components.push(name);
        }
        bundle.syncs.push(Sync {
            from: origin.from.clone(),
            to: candidate.to(),
            tree,
            selection: way.flow.selection.clone(),
            keys: keys.map(|keys| *keys),
        });
    }
    Ok(decided)
}

/// What a target shall get.
struct Wanted<'r> {
    candidate: Candidate<'r>,
    tree: Option<TreeOid>,
    keys: Option<Box<Keys>>,
}

/// What is not yet as it should be, of what can be.
fn wanted<'r>(
    candidates: Vec<Candidate<'r>>,
    facts: &Facts,
    decided: &mut Decided<'_>,
) -> Result<Vec<Wanted<'r>>, PlanError> {
    let own = content(facts, &Base::default())?;
    let mut sources: HashMap<usize, &Entry> = HashMap::new();
    let mut shelves: BTreeMap<&Base, Shelf<'_>> = BTreeMap::new();
    let mut selectors = Selectors::default();
    let mut all = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let Candidate { origin, way } = candidate;
        let shelf = match shelves.entry(&way.base) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(slot) => slot.insert(Shelf::of(content(facts, &way.base)?)),
        };
        let comparison = if candidate.travels_by_keys() {
            files(candidate, own, shelf.content)?
        } else {
            let source = match sources.entry(origin.number) {
                hash_map::Entry::Occupied(known) => *known.get(),
                hash_map::Entry::Vacant(slot) => *slot.insert(entry(own, &origin.from)?),
            };
            let target = shelf.target(candidate)?;
            trees(candidate, source, target, (own, shelf.content), &mut selectors)?
        };
        match comparison {
            // Another branch is read as it is now, and not as it was at the change. What is equal there may be so because the step is done, and
            // a plan that forgot the step would forget the gates behind it, too. Whoever carries it out sees that nothing is to be done.
            // The same goes for what is taken back.
            Comparison::Possible { is_equal: true, .. }
                if way.base.is_own() && facts.change.rollback.is_none() => {}
            Comparison::Possible { tree, keys, .. } => all.push(Wanted {
                candidate,
                tree,
                keys,
            }),
            Comparison::Refused(reason) => decided.refuse(candidate, reason),
        }
    }
    Ok(all)
}

/// What was read of one base, ready for look-ups that mostly come in the order of the paths: then each is where the one before ended, and
/// no search is needed among many paths that begin alike.
struct Shelf<'f> {
    content: &'f Content,
    ahead: Peekable<Range<'f, PathInRepo, Entry>>,
}

impl<'f> Shelf<'f> {
    fn of(content: &'f Content) -> Self {
        Self {
            content,
            ahead: content.entries.range::<PathInRepo, _>(..).peekable(),
        }
    }

    /// What stands where a candidate leads.
    fn target(&mut self, candidate: Candidate<'_>) -> Result<&'f Entry, PlanError> {
        let is_there = |(path, _): &(&PathInRepo, &Entry)| candidate.goes_to(path);
        if let Some((_, found)) = self.ahead.next_if(is_there) {
            return Ok(found);
        }
        let to = candidate.to();
        self.ahead = self.content.entries.range(&to..).peekable();
        match self.ahead.next_if(is_there) {
            Some((_, found)) => Ok(found),
            None => Err(PlanError::MissingFact(to)),
        }
    }
}

impl Decided<'_> {
    pub(super) fn refuse(&mut self, candidate: Candidate<'_>, reason: String) {
        self.refused.push(candidate.refused(reason));
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
        match facts.at.get(&candidate.way.base) {
            None => return Err(PlanError::MissingBase(candidate.way.base.clone())),
            Some(Found::Unreachable(reason)) => {
                let reason = format!("{}: {reason}", candidate.way.base);
                let (flow, wave, _) = candidate.way.step;
                decided
                    .blocked
                    .entry((flow, wave))
                    .or_insert_with(|| reason.clone());
                decided.refuse(candidate, reason);
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
                .get(&candidate.origin.at)
                .and_then(|policy| policy.refusal(candidate.way.target, &candidate.to()));
            match refusal {
                Some(reason) => {
                    decided.refuse(*candidate, reason);
                    false
                }
                None => true,
            }
        })
        .collect()
}

pub(super) fn content<'f>(facts: &'f Facts, base: &Base) -> Result<&'f Content, PlanError> {
    match facts.at.get(base) {
        Some(Found::Content(content)) => Ok(content),
        Some(Found::Unreachable(_)) | None => Err(PlanError::MissingBase(base.clone())),
    }
}

pub(super) fn entry<'f>(content: &'f Content, path: &PathInRepo) -> Result<&'f Entry, PlanError> {
    content
        .entries
        .get(path)
        .ok_or_else(|| PlanError::MissingFact(path.clone()))
}
