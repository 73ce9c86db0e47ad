//! From touched components to every place that the policy would have them go.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Skipped;
use super::trace::{Component, Trace};
use crate::change::Change;
use crate::policy::{Flow, Policy, Target, protected};
use crate::{Base, PathInRepo};

/// The pull request that something belongs to: the index of the flow, of the wave in the flow, and of the group in the wave.
pub(super) type StepKey = (usize, usize, usize);

/// One component and one target that it might go to.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) step: StepKey,
    pub(super) flow: &'a Flow,
    pub(super) component: Component<'a>,
    /// The target as the policy has it.
    pub(super) target: &'a Target,
    /// The component's directory at its source: one path for all of its targets, which may be many.
    pub(super) component_at: Rc<PathInRepo>,
    /// What travels: the component, or one file of it.
    pub(super) from: Rc<PathInRepo>,
    /// Where the target is, as the change sees it.
    pub(super) base: Rc<Base>,
    /// What it becomes at the target.
    pub(super) to: PathInRepo,
}

impl Candidate<'_> {
    /// Whether keys of a file travel, and not directories.
    pub(super) const fn travels_by_keys(&self) -> bool {
        self.flow.source.file.is_some()
    }
}

/// Something that does not go where the policy would have it go.
pub(super) type Refused = (StepKey, Skipped);

/// Every component at every target of its flow, in policy order, and those that can't go there whatever stands there.
pub(super) fn of<'a>(
    policy: &'a Policy,
    change: &Change,
    trace: &Trace<'a>,
) -> (Vec<Candidate<'a>>, Vec<Refused>) {
    let groups: Vec<Vec<Reach<'_>>> = policy.flows().iter().map(|flow| reach(flow, change)).collect();
    let most: usize = trace
        .components
        .iter()
        .filter_map(|component| groups.get(component.flow))
        .flatten()
        .map(|group| group.targets.len())
        .sum();
    let mut candidates = Vec::with_capacity(most);
    let mut refused = Vec::new();
    for component in &trace.components {
        let Some(flow) = policy.flows().get(component.flow) else {
            continue;
        };
        let paths = paths(component);
        let file = flow.source.file.as_ref();
        // One path for all targets.
        let from = match &paths {
            Ok((at, _)) => file.map_or_else(|| Rc::clone(at), |file| Rc::new(at.join(file))),
            Err(_) => Rc::default(),
        };
        let groups = groups.get(component.flow).map_or(&[][..], Vec::as_slice);
        for (group, target) in groups
            .iter()
            .flat_map(|group| group.targets.iter().map(move |target| (group, target)))
        {
            let step = (component.flow, group.wave, group.group);
            let mut refuse = |target: PathInRepo, reason: &str| {
                let skipped = Skipped {
                    component: component.title().to_owned(),
                    target,
                    reason: reason.to_owned(),
                };
                refused.push((step, skipped));
            };
            match &paths {
                Err(reason) => refuse(target.path.clone(), reason),
                Ok((component_at, name)) => {
                    let to = target.path.join(name);
                    let to = target
                        .file
                        .as_ref()
                        .map_or_else(|| to.clone(), |file| to.join(file));
                    if let Some(reason) = unfit(&from, &to, group.base.is_own()) {
                        refuse(to, reason);
                    } else {
                        candidates.push(Candidate {
                            step,
                            flow,
                            component: *component,
                            target,
                            component_at: Rc::clone(component_at),
                            from: Rc::clone(&from),
                            base: Rc::clone(&group.base),
                            to,
                        });
                    }
                }
            }
        }
    }
    (candidates, refused)
}

/// The targets of one pull request.
struct Reach<'a> {
    wave: usize,
    group: usize,
    base: Rc<Base>,
    targets: &'a [Target],
}

/// The groups of a flow. One that has the same targets as an earlier one would open the same pull request again, so it is left
/// out (rule 3).
fn reach<'a>(flow: &'a Flow, change: &Change) -> Vec<Reach<'a>> {
    let mut seen = BTreeSet::new();
    let mut reach = Vec::new();
    for (wave, definition) in flow.waves.iter().enumerate() {
        for (group, targets) in definition.groups.iter().enumerate() {
            let places: BTreeSet<_> = targets
                .targets
                .iter()
                .map(|target| (&target.path, &target.file))
                .collect();
            if seen.insert((&targets.base, places)) {
                reach.push(Reach {
                    wave,
                    group,
                    base: Rc::new(targets.base.seen_from(change)),
                    targets: &targets.targets,
                });
            }
        }
    }
    reach
}

/// The component's path at its source and below a target, or why it can't be promoted.
fn paths(component: &Component<'_>) -> Result<(Rc<PathInRepo>, PathInRepo), String> {
    let Component { source, name, .. } = component;
    // Paths that are not UTF-8 come with this in place of what is not; the true name is unknown then.
    if source.contains('\u{fffd}') || name.contains('\u{fffd}') {
        return Err("its path is not UTF-8".to_owned());
    }
    let parse = |path: &str| {
        PathInRepo::parse(path).map_err(|error| format!("its path can't be promoted: {}", error.rule))
    };
    let (source, name) = (parse(source)?, parse(name)?);
    Ok((Rc::new(source.join(&name)), name))
}

/// Why a component can't go from one path to the other, whatever stands there.
fn unfit(from: &PathInRepo, to: &PathInRepo, in_one_tree: bool) -> Option<&'static str> {
    if let Some(reason) = protected(to) {
        Some(reason)
    } else if !in_one_tree || from == to {
        None
    } else if to.is_within(from) {
        Some("the target lies inside the component itself")
    } else if from.is_within(to) {
        Some("the component lies inside what it would replace")
    } else {
        None
    }
}
