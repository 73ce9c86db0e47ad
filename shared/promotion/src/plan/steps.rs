//! From decisions to steps: one pull request for each group of targets that something goes to (rule 3).

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufWriter;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::candidates::StepKey;
use super::decide::{Bundle, Decided};
use super::trace::Trace;
use super::{Facts, FlowRef, Found, Plan, PlanError, PlannedFlow, PlannedWave, Skipped, Step, Sync, names};
use crate::change::hex;
use crate::policy::{Flow, Group, Policy, Supersede};
use crate::track::Track;
use crate::{Base, BranchName, CommitOid, Location, PathInRepo, PlanId, RepoId, StepId};

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
        blocked,
        notes,
    } = decided;
    let mut skipped: BTreeSet<&Skipped> = BTreeSet::new();
    let mut skipped_by_step: BTreeMap<StepKey, BTreeSet<&Skipped>> = BTreeMap::new();
    for (key, skip) in &refused {
        skipped.insert(skip);
        skipped_by_step.entry(*key).or_default().insert(skip);
    }
    let mut steps = Vec::new();
    let mut flows = Vec::new();
    for (key, bundle) in syncs {
        let (flow_index, wave_index, group_index) = key;
        let Some(flow) = policy.flows().get(flow_index) else {
            continue;
        };
        let Some(wave) = flow.waves.get(wave_index) else {
            continue;
        };
        let Some(group) = wave.groups.get(group_index) else {
            continue;
        };
        let skipped = skipped_by_step.remove(&key).unwrap_or_default();
        let place = Place {
            flow,
            wave: wave_index,
            group,
            auto_merge: wave.auto_merge,
            supersede: policy.settings().supersede,
        };
        steps.push(step(facts, place, bundle, skipped)?);
        if flows
            .last()
            .is_none_or(|last: &PlannedFlow| last.flow != flow.reference)
        {
            flows.push(planned(flow_index, flow, &blocked));
        }
    }
    if flows.iter().all(PlannedFlow::is_simple) && facts.change.rollback.is_none() {
        flows.clear();
    }
    let settings = policy.settings();
    let skipped: Vec<Skipped> = skipped.into_iter().cloned().collect();
    let content = PlanContent {
        steps: steps.iter().map(|step| &step.id).collect(),
        flows: &flows,
        skipped: &skipped,
        notes: &notes,
        dry_run: settings.dry_run,
        approve: settings.approve,
        matched_paths: trace.matched_paths,
    };
    Ok(Plan {
        id: PlanId::from_valid(digest("plan", &content)?),
        steps,
        flows,
        skipped,
        notes,
        dry_run: settings.dry_run,
        approve: settings.approve,
        matched_paths: trace.matched_paths,
    })
}

/// Where in a policy a step is from.
struct Place<'a> {
    flow: &'a Flow,
    wave: usize,
    group: &'a Group,
    auto_merge: bool,
    supersede: Supersede,
}

/// The flow with all of its waves.
fn planned(index: usize, flow: &Flow, blocked: &BTreeMap<(usize, usize), String>) -> PlannedFlow {
    let waves = flow.waves.iter().enumerate().map(|(place, wave)| PlannedWave {
        blocked: blocked.get(&(index, place)).cloned(),
        name: wave.name.clone().unwrap_or_else(|| {
            let groups: Vec<String> = wave.groups.iter().map(described).collect();
            groups.join(", ")
        }),
        after: wave.after.clone(),
        gates: wave.gates.clone(),
        freezes: wave.freezes.clone(),
    });
    PlannedFlow {
        flow: flow.reference.clone(),
        name: flow.name.clone(),
        waves: waves.collect(),
    }
}

/// What people call the targets of a pull request.
pub(super) fn described(group: &Group) -> String {
    group.description.clone().unwrap_or_else(|| {
        let targets = group.targets.iter().map(|target| {
            let place = target.name.as_deref().unwrap_or(target.path.as_str());
            if place.is_empty() {
                group.base.to_string()
            } else {
                place.to_owned()
            }
        });
        targets.collect::<Vec<_>>().join(" ")
    })
}

fn step(
    facts: &Facts,
    place: Place<'_>,
    bundle: Bundle<'_>,
    skipped: BTreeSet<&Skipped>,
) -> Result<Step, PlanError> {
    let Place {
        flow,
        wave,
        group,
        auto_merge,
        supersede,
    } = place;
    let change = &facts.change;
    let Bundle {
        mut components,
        syncs: mut sync,
    } = bundle;
    components.sort_unstable();
    components.dedup();
    let components: Vec<String> = components.into_iter().map(str::to_owned).collect();
    sync.sort();
    let description = described(group);
    let base = group.base.seen_from(change);
    let (repo, branch) = match facts.at.get(&base) {
        Some(Found::Content(content)) => (content.repo.clone(), content.branch.clone()),
        Some(Found::Unreachable(_)) | None => return Err(PlanError::MissingBase(base)),
    };
    let source = source_name(flow);
    let identity = Identity {
        file: &flow.reference.file,
        flow: flow.reference.index,
        source: flow.source.directories.as_str(),
        targets: group.targets.iter().map(|target| &target.path).collect(),
        repo: change.repo.id,
        commit: &change.merged_as,
        base: (!base.is_own()).then_some(&base),
        files: group
            .targets
            .iter()
            .filter_map(|target| target.file.as_ref())
            .collect(),
        rollback: change.rollback.as_ref().map(|rollback| rollback.place),
    };
    let identity = serde_json::to_vec(&identity).map_err(PlanError::Hash)?;
    let track = match supersede {
        // What is taken back is neither newer nor older than anything.
        _ if change.rollback.is_some() => None,
        Supersede::Leave => None,
        Supersede::Update | Supersede::Close => {
            let in_place = supersede == Supersede::Update;
            Some(Track::of(change, flow, group, &base, in_place).map_err(PlanError::Hash)?)
        }
    };
    let mut step = Step {
        // Until the rest of the step is known.
        id: StepId::from_valid(String::new()),
        flow: flow.reference.clone(),
        source,
        targets: group
            .targets
            .iter()
            .map(|target| Location {
                repo: repo.as_ref().unwrap_or(&change.repo).name.clone(),
                branch: branch.as_ref().unwrap_or(&change.branch).clone(),
                path: target.path.clone(),
                selection: flow.selection.clone(),
            })
            .collect(),
        title: names::title(change, &components, &description),
        branch: names::branch(change, &identity),
        description,
        components,
        sync,
        skipped: skipped.into_iter().cloned().collect(),
        auto_merge,
        repo,
        base: branch,
        wave,
        track,
    };
    step.id = StepId::from_valid(digest("step", &StepContent::of(&step))?);
    Ok(step)
}

/// What people call the source of a flow.
fn source_name(flow: &Flow) -> String {
    let directories = flow.source.directories.as_str();
    match &flow.source.branch {
        Some(branch) if directories.is_empty() => branch.to_string(),
        Some(_) | None => directories.to_owned(),
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a Base>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<&'a PathInRepo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback: Option<usize>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<RepoId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wave: Option<usize>,
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
            repo,
            base,
            wave,
            track: _,
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
            repo: repo.as_ref().map(|repo| repo.id),
            base: base.as_ref().map(BranchName::as_str),
            wave: (*wave > 0).then_some(*wave),
        }
    }
}

/// A plan without its id. The steps' ids stand for the steps.
#[derive(Serialize)]
struct PlanContent<'a> {
    steps: Vec<&'a StepId>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    flows: &'a [PlannedFlow],
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
