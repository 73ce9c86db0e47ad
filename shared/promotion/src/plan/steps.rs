//! From decisions to steps: one pull request for each group of targets that something goes to (rule 3).

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufWriter;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::candidates::StepKey;
use super::decide::Decided;
use super::trace::Trace;
use super::{Facts, FlowRef, Plan, PlanError, Skipped, Step, Sync, names};
use crate::change::hex;
use crate::policy::{Flow, Group, Policy};
use crate::{CommitOid, Location, PathInRepo, PlanId, RepoId, StepId};

/// Bytes.
const HASHED_AT_ONCE: usize = 16 * 1024;

pub(super) fn assemble(
    policy: &Policy,
    facts: &Facts,
    trace: &Trace<'_>,
    decided: Decided<'_>,
) -> Result<Plan, PlanError> {
    let Decided {
        syncs,
        refused,
        notes,
    } = decided;
    let mut skipped: BTreeSet<&Skipped> = BTreeSet::new();
    let mut skipped_by_step: BTreeMap<StepKey, BTreeSet<&Skipped>> = BTreeMap::new();
    for (key, skip) in &refused {
        skipped.insert(skip);
        skipped_by_step.entry(*key).or_default().insert(skip);
    }
    let mut steps = Vec::new();
    for (key, syncs) in syncs {
        let (flow_index, group_index) = key;
        let Some(flow) = policy.flows().get(flow_index) else {
            continue;
        };
        let Some(group) = flow.groups.get(group_index) else {
            continue;
        };
        let skipped = skipped_by_step.remove(&key).unwrap_or_default();
        steps.push(step(facts, flow, group, syncs, skipped)?);
    }
    let settings = policy.settings();
    let skipped: Vec<Skipped> = skipped.into_iter().cloned().collect();
    let content = PlanContent {
        steps: steps.iter().map(|step| &step.id).collect(),
        skipped: &skipped,
        notes: &notes,
        dry_run: settings.dry_run,
        approve: settings.approve,
        matched_paths: trace.matched_paths,
    };
    Ok(Plan {
        id: PlanId::from_valid(digest("plan", &content)?),
        steps,
        skipped,
        notes,
        dry_run: settings.dry_run,
        approve: settings.approve,
        matched_paths: trace.matched_paths,
    })
}

fn step(
    facts: &Facts,
    flow: &Flow,
    group: &Group,
    syncs: Vec<(&str, Sync)>,
    skipped: BTreeSet<&Skipped>,
) -> Result<Step, PlanError> {
    let change = &facts.change;
    // Those of one component come one after the other.
    let mut components: Vec<&str> = syncs.iter().map(|(name, _)| *name).collect();
    components.dedup();
    components.sort_unstable();
    components.dedup();
    let components: Vec<String> = components.into_iter().map(str::to_owned).collect();
    let mut sync: Vec<Sync> = syncs.into_iter().map(|(_, sync)| sync).collect();
    sync.sort();
    let description = group.description.clone().unwrap_or_else(|| {
        let targets: Vec<&str> = group.targets.iter().map(PathInRepo::as_str).collect();
        targets.join(" ")
    });
    let identity = Identity {
        file: &flow.reference.file,
        flow: flow.reference.index,
        source: flow.source.as_str(),
        targets: group.targets.iter().collect(),
        repo: change.repo.id,
        commit: &change.merged_as,
    };
    let identity = serde_json::to_vec(&identity).map_err(PlanError::Hash)?;
    let mut step = Step {
        // Until the rest of the step is known.
        id: StepId::from_valid(String::new()),
        flow: flow.reference.clone(),
        source: flow.source.as_str().to_owned(),
        targets: group
            .targets
            .iter()
            .map(|path| Location::directory(change.repo.name.clone(), change.branch.clone(), path.clone()))
            .collect(),
        title: names::title(&components, &description),
        branch: names::branch(change, &identity),
        description,
        components,
        sync,
        skipped: skipped.into_iter().cloned().collect(),
        auto_merge: flow.auto_merge,
    };
    step.id = StepId::from_valid(digest("step", &StepContent::of(&step))?);
    Ok(step)
}

/// What makes a step's branch: the same flow, targets and change always meet on the same branch.
#[derive(Serialize)]
struct Identity<'a> {
    file: &'a str,
    flow: usize,
    source: &'a str,
    targets: BTreeSet<&'a PathInRepo>,
    repo: RepoId,
    commit: &'a CommitOid,
}

/// A step without its id.
#[derive(Serialize)]
struct StepContent<'a> {
    flow: &'a FlowRef,
    source: &'a str,
    targets: &'a [Location],
    description: &'a str,
    components: &'a [String],
    sync: &'a [Sync],
    skipped: &'a [Skipped],
    auto_merge: bool,
    title: &'a str,
    branch: &'a str,
}

impl<'a> StepContent<'a> {
    fn of(step: &'a Step) -> Self {
        // Taken apart, so that a new field is not forgotten here.
        let Step {
            id: _,
            flow,
            source,
            targets,
            description,
            components,
            sync,
            skipped,
            auto_merge,
            title,
            branch,
        } = step;
        Self {
            flow,
            source,
            targets,
            description,
            components,
            sync,
            skipped,
            auto_merge: *auto_merge,
            title,
            branch: branch.as_str(),
        }
    }
}

/// A plan without its id. The steps' ids stand for the steps.
#[derive(Serialize)]
struct PlanContent<'a> {
    steps: Vec<&'a StepId>,
    skipped: &'a [Skipped],
    notes: &'a [String],
    dry_run: bool,
    approve: bool,
    matched_paths: usize,
}

/// The hash of something written as JSON. The fields come in the order of the types, and there are no maps without order, so the
/// same content is always the same text.
fn digest(kind: &str, content: &impl Serialize) -> Result<String, PlanError> {
    let hasher = Sha256::new_with_prefix(format!("lockflight:{kind}:v1\n"));
    // What is written comes in pieces of a few bytes.
    let mut buffer = BufWriter::with_capacity(HASHED_AT_ONCE, hasher);
    serde_json::to_writer(&mut buffer, content).map_err(PlanError::Hash)?;
    let hasher = buffer
        .into_inner()
        .map_err(|error| PlanError::Hash(serde_json::Error::io(error.into_error())))?;
    Ok(hex(&hasher.finalize()))
}
