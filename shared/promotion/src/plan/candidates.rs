//! From touched components to every place that the policy would have them go.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Skipped;
use super::trace::{Component, Trace};
use crate::change::Change;
use crate::policy::{AT_THE_ROOT, Flow, Policy, Target, protected_in};
use crate::{Base, PathInRepo};

/// The pull request that something belongs to: the index of the flow, of the wave in the flow, and of the group in the wave.
pub(super) type StepKey = (usize, usize, usize);

/// What a change touched, and where the policy would have it go: in each flow every component goes every way.
///
/// There may be hundreds of each, so what is true of a component on all of its ways is found out once, and so is what is true of a way
/// for all components.
#[derive(Debug)]
pub(super) struct Reach<'a> {
    /// The flows that have components.
    flows: Vec<FlowReach<'a>>,
}

#[derive(Debug)]
struct FlowReach<'a> {
    ways: Vec<Way<'a>>,
    origins: Vec<Origin<'a>>,
    /// Components that can't be promoted, and why.
    unnameable: Vec<(Component<'a>, String)>,
}

/// A touched component at its source.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    /// Its place in the order of precedence among all components.
    pub(super) number: usize,
    pub(super) component: Component<'a>,
    /// Its directory.
    pub(super) at: PathInRepo,
    /// What travels: the component, or one file of it.
    pub(super) from: PathInRepo,
    /// The component below its source, and below any target.
    name: PathInRepo,
    /// Why nothing of that name may be written.
    protected: Option<&'static str>,
}

/// A target of a flow.
#[derive(Debug)]
pub(super) struct Way<'a> {
    pub(super) step: StepKey,
    pub(super) flow: &'a Flow,
    /// The target as the policy has it.
    pub(super) target: &'a Target,
    /// Where the target is, as the change sees it.
    pub(super) base: Base,
    /// Why nothing may be written in that directory, and why not in that file of a component.
    protected: (Option<&'static str>, Option<&'static str>),
}

/// One component and one target that it might go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'r> {
    pub(super) origin: &'r Origin<'r>,
    pub(super) way: &'r Way<'r>,
}

/// Something that does not go where the policy would have it go.
pub(super) type Refused = (StepKey, Skipped);

impl<'a> Reach<'a> {
    pub(super) fn of(policy: &'a Policy, change: &Change, trace: &Trace<'a>) -> Self {
        let mut flows: Vec<FlowReach<'a>> = Vec::new();
        let mut last = None;
        // Components come in the order of precedence, and so in that of their flows.
        for (number, component) in trace.components.iter().enumerate() {
            let Some(flow) = policy.flows().get(component.flow) else {
                continue;
            };
            if last.replace(component.flow) != Some(component.flow) {
                flows.push(FlowReach {
                    ways: ways(component.flow, flow, change),
                    origins: Vec::new(),
                    unnameable: Vec::new(),
                });
            }
            let Some(reach) = flows.last_mut() else { continue };
            match Origin::of(number, *component, flow) {
                Ok(origin) => reach.origins.push(origin),
                Err(reason) => reach.unnameable.push((*component, reason)),
            }
        }
        Self { flows }
    }

    /// Every component at every target of its flow, and those that can't go there whatever stands there. All that go one way come one after
    /// another, so that their paths at the target are all but sorted.
    pub(super) fn candidates(&self) -> (Vec<Candidate<'_>>, Vec<Refused>) {
        let most = self.flows.iter().map(|flow| flow.origins.len() * flow.ways.len());
        let mut candidates = Vec::with_capacity(most.sum());
        let mut refused = Vec::new();
        for flow in &self.flows {
            for way in &flow.ways {
                refused.extend(flow.unnameable.iter().map(|(component, reason)| {
                    let skipped = Skipped {
                        component: component.title().to_owned(),
                        target: way.target.path.clone(),
                        reason: reason.clone(),
                    };
                    (way.step, skipped)
                }));
                for origin in &flow.origins {
                    let candidate = Candidate { origin, way };
                    match candidate.unfit() {
                        Some(reason) => refused.push(candidate.refused(reason.to_owned())),
                        None => candidates.push(candidate),
                    }
                }
            }
        }
        (candidates, refused)
    }

    /// The directories of the components that may go somewhere.
    pub(super) fn components(&self) -> impl Iterator<Item = &PathInRepo> {
        self.flows.iter().flat_map(|flow| {
            flow.origins
                .iter()
                .filter(|origin| {
                    let mut ways = flow.ways.iter();
                    ways.any(|way| Candidate { origin, way }.unfit().is_none())
                })
                .map(|origin| &origin.at)
        })
    }

    /// Whether no two candidates can meet or lie inside one another at a target, as the names and targets are. It takes a look at each of
    /// these, and not at each candidate.
    pub(super) fn keeps_apart(&self) -> bool {
        let mut targets = HashSet::new();
        self.flows.iter().all(|flow| {
            // In a flow all names are of as many segments, so no two of them lie inside one another.
            let mut names = HashSet::new();
            flow.origins.iter().all(|origin| names.insert(&origin.name))
                && flow
                    .ways
                    .iter()
                    .all(|way| targets.insert((&way.base, way.target.path.as_str())))
        }) && targets
            .iter()
            .all(|(base, path)| !above(path).any(|directory| targets.contains(&(*base, directory))))
    }
}

/// The directories above a path, from the nearest to the root.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let parent = |path: &str| match path.rsplit_once('/') {
        Some((parent, _)) => Some(parent.len()),
        None => (!path.is_empty()).then_some(0),
    };
    std::iter::successors(Some(path), move |path| {
        parent(path).and_then(|end| path.get(..end))
    })
    .skip(1)
}

/// The targets of a flow. A group that has the same targets as an earlier one would open the same pull request again, so it is left
/// out (rule 3).
fn ways<'a>(index: usize, flow: &'a Flow, change: &Change) -> Vec<Way<'a>> {
    let mut seen = BTreeSet::new();
    let mut ways = Vec::new();
    for (wave, definition) in flow.waves.iter().enumerate() {
        for (group, definition) in definition.groups.iter().enumerate() {
            let places: BTreeMap<_, &Target> = definition
                .targets
                .iter()
                .map(|target| ((&target.path, &target.file), target))
                .collect();
            let targets: Vec<&Target> = places.values().copied().collect();
            if !seen.insert((&definition.base, places.into_keys().collect::<Vec<_>>())) {
                continue;
            }
            let base = definition.base.seen_from(change);
            ways.extend(targets.into_iter().map(|target| Way {
                step: (index, wave, group),
                flow,
                target,
                base: base.clone(),
                protected: (
                    protected_in(&target.path),
                    target.file.as_ref().and_then(protected_in),
                ),
            }));
        }
    }
    ways
}

impl<'a> Origin<'a> {
    /// The component at its source, or why it can't be promoted.
    fn of(number: usize, component: Component<'a>, flow: &Flow) -> Result<Self, String> {
        let Component { source, name, .. } = component;
        // Paths that are not UTF-8 come with this in place of what is not; the true name is unknown then.
        if source.contains('\u{fffd}') || name.contains('\u{fffd}') {
            return Err("its path is not UTF-8".to_owned());
        }
        let parse = |path: &str| {
            PathInRepo::parse(path).map_err(|error| format!("its path can't be promoted: {}", error.rule))
        };
        let (source, name) = (parse(source)?, parse(name)?);
        let at = source.join(&name);
        let file = flow.source.file.as_ref();
        Ok(Self {
            number,
            component,
            from: file.map_or_else(|| at.clone(), |file| at.join(file)),
            at,
            protected: protected_in(&name),
            name,
        })
    }
}

impl Candidate<'_> {
    /// What the component becomes at the target. Most candidates need no such path of their own, so it is made when it is asked for.
    pub(super) fn to(&self) -> PathInRepo {
        let to = self.way.target.path.join(&self.origin.name);
        match &self.way.target.file {
            Some(file) => to.join(file),
            None => to,
        }
    }

    /// Whether that is this path.
    pub(super) fn goes_to(&self, path: &PathInRepo) -> bool {
        let target = self.way.target;
        [Some(&target.path), Some(&self.origin.name), target.file.as_ref()]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_root())
            .try_fold(path.as_str(), |rest, part| {
                let rest = rest.strip_prefix(part.as_str())?;
                if rest.is_empty() {
                    Some(rest)
                } else {
                    rest.strip_prefix('/')
                }
            })
            .is_some_and(str::is_empty)
    }

    /// Whether keys of a file travel, and not directories.
    pub(super) const fn travels_by_keys(&self) -> bool {
        self.way.flow.source.file.is_some()
    }

    /// This, when it is not to go.
    pub(super) fn refused(&self, reason: String) -> Refused {
        let skipped = Skipped {
            component: self.origin.component.title().to_owned(),
            target: self.to(),
            reason,
        };
        (self.way.step, skipped)
    }

    /// Why it can't go, whatever stands at the target.
    fn unfit(&self) -> Option<&'static str> {
        let Self { origin, way } = self;
        let (from, directory) = (&origin.from, &way.target.path);
        let protected = way.protected.0.or(origin.protected).or(way.protected.1);
        let meet = directory.is_within(from) || from.is_within(directory);
        if protected.is_some() || !meet {
            return protected;
        }
        let to = self.to();
        if to.is_root() {
            Some(AT_THE_ROOT)
        } else if !way.base.is_own() || *from == to {
            None
        } else if to.is_within(from) {
            Some("the target lies inside the component itself")
        } else if from.is_within(&to) {
            Some("the component lies inside what it would replace")
        } else {
            None
        }
    }
}
