//! From changed paths to the components that they lie in (rules 1 and 2).

use std::collections::{BTreeSet, HashMap};

use crate::PathInRepo;
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
        // Labels, author and branch are those of the change, so what holds for one path holds for all.
        let flows: Vec<(usize, &Flow)> = policy
            .flows()
            .iter()
            .enumerate()
            .filter(|(_, flow)| {
                let branch = flow
                    .source
                    .branch
                    .as_ref()
                    .unwrap_or_else(|| change.default_branch());
                *branch == change.branch && flow.conditions.hold(&change.labels, change.original_author())
            })
            .collect();
        // Every file of a directory has the same component, so each directory is matched once, unless a flow tells files apart.
        let tell_apart = flows
            .iter()
            .any(|(_, flow)| flow.source.file.is_some() || flow.conditions.tell_files_apart());
        let mut directories: HashMap<&str, Option<Component<'a>>> = HashMap::new();
        let mut components = BTreeSet::new();
        let mut matched_paths = 0;
        let mut paths: Vec<&str> = changed.iter().map(String::as_str).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let component = if tell_apart {
                let component = locate(&flows, path);
                components.extend(component);
                component
            } else {
                let Some((directory, _)) = path.rsplit_once('/') else {
                    continue;
                };
                *directories.entry(directory).or_insert_with(|| {
                    let component = locate(&flows, path);
                    components.extend(component);
                    component
                })
            };
            matched_paths += usize::from(component.is_some());
        }
        Self {
            components,
            matched_paths,
        }
    }
}

/// The component of the first flow whose pattern matches and whose conditions hold. A flow that matches without a component ends the search.
fn locate<'a>(flows: &[(usize, &Flow)], path: &'a str) -> Option<Component<'a>> {
    for (flow, definition) in flows {
        if !definition.conditions.hold_for_path(path) {
            continue;
        }
        match definition.source.directories.locate(path) {
            SourceMatch::None => {}
            // Where a flow is about one file of each component, others of the same directories may be of another flow.
            SourceMatch::NoComponent if definition.source.file.is_some() => {}
            SourceMatch::NoComponent => return None,
            SourceMatch::Component { source, name } => {
                let component = Component {
                    flow: *flow,
                    source,
                    name,
                };
                let is_its_file = |file: &PathInRepo| component.below(path) == Some(file.as_str());
                if definition.conditions.hold_for_component(name)
                    && definition.source.file.as_ref().is_none_or(is_its_file)
                {
                    return Some(component);
                }
            }
        }
    }
    None
}

impl<'a> Component<'a> {
    /// What of `path`, which lies in the component, stands below it.
    fn below(&self, path: &'a str) -> Option<&'a str> {
        let mut rest = path;
        for part in [self.source, self.name] {
            if !part.is_empty() {
                rest = rest.strip_prefix(part)?.strip_prefix('/')?;
            }
        }
        Some(rest)
    }

    /// What people call the component: its name, or that of its directory where that is the component.
    pub(super) fn title(&self) -> &'a str {
        if self.name.is_empty() {
            self.source.rsplit('/').next().unwrap_or_default()
        } else {
            self.name
        }
    }
}
