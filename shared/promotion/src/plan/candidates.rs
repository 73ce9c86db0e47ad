//! From touched components to every place that the policy would have them go.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Skipped;
use super::trace::{Component, Trace};
use crate::PathInRepo;
use crate::policy::{Flow, Policy, protected};

/// The pull request that something belongs to: the index of the flow, and of the group in the flow.
pub(super) type StepKey = (usize, usize);

/// One component and one target that it might go to.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) step: StepKey,
    pub(super) component: Component<'a>,
    /// The target as the policy has it.
    pub(super) target: &'a PathInRepo,
    /// The component at its source: one path for all of its targets, which may be many.
    pub(super) from: Rc<PathInRepo>,
    /// The component at the target.
    pub(super) to: PathInRepo,
}

/// Something that does not go where the policy would have it go.
pub(super) type Refused = (StepKey, Skipped);

/// Every component at every target of its flow, in policy order, and those that can't go there whatever stands there.
pub(super) fn of<'a>(policy: &'a Policy, trace: &Trace<'a>) -> (Vec<Candidate<'a>>, Vec<Refused>) {
    let groups: Vec<Vec<(usize, &[PathInRepo])>> = policy.flows().iter().map(groups).collect();
    let most: usize = trace
        .components
        .iter()
        .filter_map(|component| groups.get(component.flow))
        .flatten()
        .map(|(_, targets)| targets.len())
        .sum();
    let mut candidates = Vec::with_capacity(most);
    let mut refused = Vec::new();
    for component in &trace.components {
        let paths = paths(component);
        let groups = groups.get(component.flow).map_or(&[][..], Vec::as_slice);
        for (group, target) in groups
            .iter()
            .flat_map(|(group, targets)| targets.iter().map(move |target| (*group, target)))
        {
            let step = (component.flow, group);
            let mut refuse = |target: PathInRepo, reason: &str| {
                let skipped = Skipped {
                    component: component.name.to_owned(),
                    target,
                    reason: reason.to_owned(),
                };
                refused.push((step, skipped));
            };
            match &paths {
                Err(reason) => refuse(target.clone(), reason),
                Ok((from, name)) => {
                    let to = target.join(name);
                    if let Some(reason) = unfit(from, &to) {
                        refuse(to, reason);
                    } else {
                        candidates.push(Candidate {
                            step,
                            component: *component,
                            target,
                            from: Rc::clone(from),
                            to,
                        });
                    }
                }
            }
        }
    }
    (candidates, refused)
}

/// The groups of a flow. One that has the same targets as an earlier one would open the same pull request again, so it is left
/// out (rule 3).
fn groups(flow: &Flow) -> Vec<(usize, &[PathInRepo])> {
    let mut seen = BTreeSet::new();
    flow.groups
        .iter()
        .enumerate()
        .filter(|(_, group)| seen.insert(group.targets.iter().collect::<BTreeSet<_>>()))
        .map(|(index, group)| (index, group.targets.as_slice()))
        .collect()
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
    Ok((Rc::new(parse(&format!("{source}/{name}"))?), parse(name)?))
}

/// Why a component can't go from one path to the other, whatever stands there.
fn unfit(from: &PathInRepo, to: &PathInRepo) -> Option<&'static str> {
    if let Some(reason) = protected(to) {
        Some(reason)
    } else if from == to {
        None
    } else if to.is_within(from) {
        Some("the target lies inside the component itself")
    } else if from.is_within(to) {
        Some("the component lies inside what it would replace")
    } else {
        None
    }
}
