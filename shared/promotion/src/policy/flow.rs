//! Flows: from one location to others, under conditions.

use std::collections::BTreeSet;

use super::pattern::SourcePattern;
use crate::PathInRepo;
use crate::plan::FlowRef;

/// From one location to others, under conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where the policy says so.
    pub reference: FlowRef,
    /// Which directories hold the components that it promotes.
    pub source: SourcePattern,
    /// How many path segments below its source name a component, at least 1.
    pub depth: usize,
    /// When it holds.
    pub conditions: Conditions,
    /// Whether its pull requests are merged as soon as GitHub allows.
    pub auto_merge: bool,
    /// Where it leads: one pull request each, in the order of the policy.
    pub groups: Vec<Group>,
}

/// When a flow holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The change must have one of these labels; none named, none needed. Labels are compared exactly.
    pub any_label: BTreeSet<String>,
}

impl Conditions {
    /// Whether a change with these labels meets them.
    #[must_use]
    pub fn hold(&self, labels: &BTreeSet<String>) -> bool {
        self.any_label.is_empty() || !self.any_label.is_disjoint(labels)
    }
}

/// The targets of one pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they are called; none if the policy does not say.
    pub description: Option<String>,
    /// The target directories, in the order of the policy, each once.
    pub targets: Vec<PathInRepo>,
}
