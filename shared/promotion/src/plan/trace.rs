//! From changed paths to the components that they lie in (rules 1 and 2).

use std::collections::{BTreeSet, HashMap};

use crate::change::Change;
use crate::policy::{Flow, Policy, SourceMatch};

/// The components that a change touched.
pub(super) struct Trace<'a> {
    /// In policy order; within a flow by source, then by name.
    pub(super) components: BTreeSet<Component<'a>>,
    /// How many of the changed paths lay in some component.
    pub(super) matched_paths: usize,
}

/// A component of a flow, as the path of some changed file names it. The order of the fields is the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Component<'a> {
    /// The index of the flow.
    pub(super) flow: usize,
    /// The directory that matches the flow's source pattern, without a slash at its end.
    pub(super) source: &'a str,
    /// The segments below it.
    pub(super) name: &'a str,
}

impl<'a> Trace<'a> {
    pub(super) fn of(policy: &Policy, change: &Change, changed: &'a [String]) -> Self {
        // Labels are those of the change, so what holds for one path holds for all.
        let flows: Vec<(usize, &Flow)> = policy
            .flows()
            .iter()
            .enumerate()
            .filter(|(_, flow)| flow.conditions.hold(&change.labels))
            .collect();
        // Every file of a directory has the same component, so each directory is matched once.
        let mut directories: HashMap<&str, Option<Component<'a>>> = HashMap::new();
        let mut components = BTreeSet::new();
        let mut matched_paths = 0;
        let mut paths: Vec<&str> = changed.iter().map(String::as_str).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let Some((directory, _)) = path.rsplit_once('/') else {
                continue;
            };
            let component = *directories.entry(directory).or_insert_with(|| {
                let component = locate(&flows, path);
                components.extend(component);
                component
            });
            matched_paths += usize::from(component.is_some());
        }
        Self {
            components,
            matched_paths,
        }
    }
}

/// The component of the first flow whose pattern matches. A flow that matches without a component ends the search.
fn locate<'a>(flows: &[(usize, &Flow)], path: &'a str) -> Option<Component<'a>> {
    for (flow, definition) in flows {
        match definition.source.locate(path) {
            SourceMatch::None => {}
            SourceMatch::NoComponent => return None,
            SourceMatch::Component { source, name } => {
                return Some(Component {
                    flow: *flow,
                    source,
                    name,
                });
            }
        }
    }
    None
}
