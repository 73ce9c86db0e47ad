//! Why a component goes where it goes, or does not: rule by rule.
//!
//! Nothing is decided here. What a rule says is told by the very code that makes plans, so that an explanation never differs from a plan of
//! the same facts.

use std::collections::{BTreeMap, BTreeSet};

use super::candidates::{Reach, StepKey};
use super::decide;
use super::trace::{Component, Trace};
use super::{Facts, FlowRef, PlanError};
use crate::gate::{Gates, freeze};
use crate::policy::{After, Flow, Policy, SourceMatch, Target, Wave};
use crate::{Base, PathInRepo};

/// What each flow of a policy does with one component, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The component at its source.
    pub component: PathInRepo,
    /// All flows, in the order of the policy.
    pub flows: Vec<ExplainedFlow>,
    /// What people should know of how it came about, as [`super::Plan::notes`].
    pub notes: Vec<String>,
}

/// What one flow does with a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedFlow {
    /// The policy file and the line that the flow begins on.
    pub flow: FlowRef,
    /// What the policy calls it.
    pub name: Option<String>,
    /// The pattern or the path of its source.
    pub source: String,
    /// Whether the component goes with this flow.
    pub applies: bool,
    /// The rules that decide so, in the order in which they are looked at.
    pub rules: Vec<Rule>,
    /// Where the flow leads, wave after wave.
    pub targets: Vec<ExplainedTarget>,
}

/// One target of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedTarget {
    /// The place of its wave, from 1.
    pub wave: usize,
    /// What the wave is called.
    pub wave_name: String,
    /// The repository and branch, as the change sees them.
    pub base: Base,
    /// What the component becomes there, or the target itself where the flow says nothing of this component.
    pub to: PathInRepo,
    /// What would be done now.
    pub fate: Fate,
    /// The rules that decide so. None where the flow as a whole does not apply.
    pub rules: Vec<Rule>,
}

/// What becomes of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It differs, and a promotion pull request would be opened once the rules of its wave hold.
    Goes,
    /// It is equal already, so nothing is to be done.
    Equal,
    /// A rule keeps the component from it.
    Refused,
    /// The flow does not apply, so the target is not looked at.
    NotAsked,
}

/// One rule and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the rule is about: one word.
    pub rule: &'static str,
    /// Whether it lets the component go on.
    pub holds: bool,
    /// Why, for people; with file and line where a policy says so.
    pub why: String,
}

impl Rule {
    const fn of(rule: &'static str, holds: bool, why: String) -> Self {
        Self { rule, holds, why }
    }
}

/// The components that files belong to by the sources of the flows, whatever else the flows ask for; each with its files.
#[must_use]
pub fn components_of<'f>(
    policy: &Policy,
    files: impl IntoIterator<Item = &'f str>,
) -> BTreeMap<PathInRepo, Vec<String>> {
    let mut found: BTreeMap<PathInRepo, Vec<String>> = BTreeMap::new();
    for file in files {
        let places: BTreeSet<PathInRepo> = policy
            .flows()
            .iter()
            .filter_map(|flow| match flow.source.directories.locate(file) {
                SourceMatch::Component { source, name } => joined(source, name),
                SourceMatch::None | SourceMatch::NoComponent => None,
            })
            .collect();
        for place in places {
            found.entry(place).or_default().push(file.to_owned());
        }
    }
    found
}

fn joined(source: &str, name: &str) -> Option<PathInRepo> {
    Some(
        PathInRepo::parse(source)
            .ok()?
            .join(&PathInRepo::parse(name).ok()?),
    )
}

/// Explains what becomes of `component`, were its files what a change touched: `facts` are those of such a change. `now_s` is the time in
/// seconds since 1970 UTC, for freezes.
///
/// # Errors
/// When an entry that [`super::reads`] named is not among the facts.
pub fn explain(
    policy: &Policy,
    facts: &Facts,
    component: &PathInRepo,
    now_s: i64,
) -> Result<Explanation, PlanError> {
    let change = &facts.change;
    let trace = Trace::of(policy, change, &facts.changed);
    let reach = Reach::of(policy, change, &trace);
    let decided = decide::decide(&reach, reach.candidates(), facts)?;
    let taken: BTreeMap<usize, Component<'_>> = trace
        .components
        .iter()
        .filter(|one| joined(one.source, one.name).as_ref() == Some(component))
        .map(|one| (one.flow, *one))
        .collect();
    let refused: BTreeMap<(StepKey, &PathInRepo), &str> = decided
        .refused
        .iter()
        .map(|(step, skipped)| ((*step, &skipped.target), skipped.reason.as_str()))
        .collect();
    let wanted: BTreeSet<(StepKey, &PathInRepo)> = decided
        .syncs
        .iter()
        .flat_map(|(step, bundle)| bundle.syncs.iter().map(|sync| (*step, &sync.to)))
        .collect();
    let candidates: BTreeMap<(StepKey, &PathInRepo), PathInRepo> = reach
        .candidates()
        .0
        .into_iter()
        .map(|candidate| ((candidate.way.step, &candidate.way.target.path), candidate.to()))
        .collect();
    let mut flows = Vec::new();
    for (index, flow) in policy.flows().iter().enumerate() {
        let rules = rules_of_flow(policy, facts, (index, flow), component, &taken);
        let applies = taken.contains_key(&index);
        let mut targets = Vec::new();
        for (wave, group, target) in places(flow) {
            let key = (index, wave, group);
            let Some(definition) = flow.waves.get(wave) else {
                continue;
            };
            let base = definition
                .groups
                .get(group)
                .map(|group| group.base.seen_from(change))
                .unwrap_or_default();
            let to = match candidates.get(&(key, &target.path)) {
                Some(to) => to.clone(),
                None => at_target(component, taken.get(&index), target),
            };
            let mut rules = Vec::new();
            let fate = if !applies {
                Fate::NotAsked
            } else if let Some(reason) = refused.get(&(key, &to)) {
                rules.push(Rule::of(
                    kind(facts, component, target, &to, reason),
                    false,
                    (*reason).to_owned(),
                ));
                Fate::Refused
            } else if !candidates.contains_key(&(key, &target.path)) {
                rules.push(Rule::of(
                    "once",
                    false,
                    "an earlier pull request of the flow has the same targets".to_owned(),
                ));
                Fate::Refused
            } else {
                let policy_file = facts.component_policies.contains_key(component);
                let why = if policy_file {
                    "the component's own policy lets it go there"
                } else {
                    "the component has no policy of its own"
                };
                rules.push(Rule::of("allowed", true, why.to_owned()));
                if wanted.contains(&(key, &to)) {
                    let why = if base.is_own() {
                        format!("{to} is not what {component} makes of it")
                    } else {
                        format!("whether {to} differs is looked at when the step is done")
                    };
                    rules.push(Rule::of("differs", true, why));
                    Fate::Goes
                } else {
                    rules.push(Rule::of(
                        "differs",
                        false,
                        format!("{to} has this content already"),
                    ));
                    Fate::Equal
                }
            };
            if fate == Fate::Goes {
                rules.extend(rules_of_wave(flow, definition, now_s));
            }
            targets.push(ExplainedTarget {
                wave: wave + 1,
                wave_name: wave_name(definition),
                base,
                to,
                fate,
                rules,
            });
        }
        flows.push(ExplainedFlow {
            flow: flow.reference.clone(),
            name: flow.name.clone(),
            source: flow.source.directories.to_string(),
            applies,
            rules,
            targets,
        });
    }
    Ok(Explanation {
        component: component.clone(),
        flows,
        notes: decided.notes,
    })
}

/// Which rule a refusal is of.
fn kind(
    facts: &Facts,
    component: &PathInRepo,
    target: &Target,
    to: &PathInRepo,
    reason: &str,
) -> &'static str {
    let by_component = facts
        .component_policies
        .get(component)
        .and_then(|policy| policy.refusal(target, to));
    if by_component.as_deref() == Some(reason) {
        "allowed"
    } else {
        "possible"
    }
}

/// Every target of a flow with the places of its wave and of its pull request.
fn places(flow: &Flow) -> impl Iterator<Item = (usize, usize, &Target)> {
    flow.waves.iter().enumerate().flat_map(|(wave, definition)| {
        definition
            .groups
            .iter()
            .enumerate()
            .flat_map(move |(group, targets)| targets.targets.iter().map(move |target| (wave, group, target)))
    })
}

fn at_target(component: &PathInRepo, taken: Option<&Component<'_>>, target: &Target) -> PathInRepo {
    let name = match taken {
        Some(taken) => PathInRepo::parse(taken.name).unwrap_or_default(),
        // The flow does not say where the component's name begins.
        None => component
            .as_str()
            .rsplit('/')
            .next()
            .and_then(|name| PathInRepo::parse(name).ok())
            .unwrap_or_default(),
    };
    let to = target.path.join(&name);
    target
        .file
        .as_ref()
        .map_or_else(|| to.clone(), |file| to.join(file))
}

/// What a flow asks of a change and of a component, in the order in which a plan looks at it.
fn rules_of_flow(
    policy: &Policy,
    facts: &Facts,
    (index, flow): (usize, &Flow),
    component: &PathInRepo,
    taken: &BTreeMap<usize, Component<'_>>,
) -> Vec<Rule> {
    let change = &facts.change;
    let mut rules = Vec::new();
    let branch = flow
        .source
        .branch
        .as_ref()
        .unwrap_or_else(|| change.default_branch());
    if flow.source.branch.is_some() || *branch != change.branch {
        rules.push(Rule::of(
            "branch",
            *branch == change.branch,
            format!(
                "it begins on the branch {branch}; the change is on {}",
                change.branch
            ),
        ));
    }
    rules.push(source(flow, &facts.changed, component));
    let conditions = &flow.conditions;
    if !conditions.any_label.is_empty() {
        let wanted = quoted(&conditions.any_label);
        let holds = !conditions.any_label.is_disjoint(&change.labels);
        let why = if change.labels.is_empty() {
            format!("it needs one of the labels {wanted}; the change has none")
        } else {
            format!(
                "it needs one of the labels {wanted}; the change has {}",
                quoted(&change.labels)
            )
        };
        rules.push(Rule::of("label", holds, why));
    }
    if !conditions.any_author.is_empty() {
        let author = change.original_author();
        rules.push(Rule::of(
            "author",
            conditions.any_author.contains(&author.as_str().to_lowercase()),
            format!(
                "it is for changes by {}; this one is by {author}",
                quoted(&conditions.any_author)
            ),
        ));
    }
    let (paths, components) = conditions.globs();
    if !paths.is_empty() {
        let holds = facts.changed.iter().any(|path| conditions.hold_for_path(path));
        let why = if holds { "a file is" } else { "no file is" };
        rules.push(Rule::of("paths", holds, format!("{why} among {}", quoted(paths))));
    }
    if !components.is_empty() {
        let name = name_in(flow, facts, component);
        let holds = name
            .as_deref()
            .is_some_and(|name| conditions.hold_for_component(name));
        rules.push(Rule::of(
            "components",
            holds,
            format!("it is for components among {}", quoted(components)),
        ));
    }
    if let Some(file) = &flow.source.file {
        let there = facts
            .changed
            .iter()
            .any(|path| *path == component.join(file).as_str());
        rules.push(Rule::of(
            "file",
            there,
            format!("it is about the file {}", component.join(file)),
        ));
    }
    if !taken.contains_key(&index) && rules.iter().all(|rule| rule.holds) {
        let first = taken.keys().find(|other| **other < index);
        let why = match first.and_then(|first| policy.flows().get(*first)) {
            Some(first) => format!(
                "the flow at {}:{} comes first and takes the component",
                first.reference.file, first.reference.line
            ),
            None => "an earlier flow begins at these files, and ends the search".to_owned(),
        };
        rules.push(Rule::of("first", false, why));
    }
    if !flow.selection.is_everything() && taken.contains_key(&index) {
        let mut parts = Vec::new();
        if !flow.selection.include.is_empty() {
            parts.push(format!(
                "only files among {} travel",
                quoted(&flow.selection.include)
            ));
        }
        if !flow.selection.exclude.is_empty() {
            parts.push(format!("files among {} stay", quoted(&flow.selection.exclude)));
        }
        rules.push(Rule::of("select", true, parts.join("; ")));
    }
    if !flow.keys.is_empty() && taken.contains_key(&index) {
        let keys: Vec<String> = flow.keys.iter().map(ToString::to_string).collect();
        rules.push(Rule::of(
            "keys",
            true,
            format!("only the keys {} travel", quoted(&keys)),
        ));
    }
    rules
}

/// Where the files of the component meet the flow's source.
fn source(flow: &Flow, changed: &[String], component: &PathInRepo) -> Rule {
    let directories = &flow.source.directories;
    let place = if directories.as_str().is_empty() {
        "the root of the repository".to_owned()
    } else {
        directories.to_string()
    };
    let (mut below, mut other) = (false, None);
    for path in changed {
        match directories.locate(path) {
            SourceMatch::None => {}
            SourceMatch::NoComponent => below = true,
            SourceMatch::Component { source, name } => match joined(source, name) {
                Some(found) if found == *component => {
                    return Rule::of("source", true, format!("it begins at {place}"));
                }
                found => other = found,
            },
        }
    }
    let why = match other {
        Some(other) => format!("it begins at {place}, where the component is {other}"),
        None if below => format!(
            "it begins at {place}, and its components are directories {} levels deeper than that",
            directories.depth()
        ),
        None => format!("it begins at {place}, and the component is not there"),
    };
    Rule::of("source", false, why)
}

fn name_in(flow: &Flow, facts: &Facts, component: &PathInRepo) -> Option<String> {
    facts
        .changed
        .iter()
        .find_map(|path| match flow.source.directories.locate(path) {
            SourceMatch::Component { source, name } if joined(source, name).as_ref() == Some(component) => {
                Some(name.to_owned())
            }
            _ => None,
        })
}

/// What has to hold before a wave begins.
fn rules_of_wave(flow: &Flow, wave: &Wave, now_s: i64) -> Vec<Rule> {
    let mut rules = Vec::new();
    let name = |place: &usize| flow.waves.get(*place).map(wave_name).unwrap_or_default();
    let (places, which) = match &wave.after {
        After::All(places) => (places, "all of"),
        After::Any(places) => (places, "one of"),
    };
    if !places.is_empty() {
        let waves: Vec<String> = places.iter().map(name).collect();
        let which = if places.len() > 1 {
            format!("{which} ")
        } else {
            String::new()
        };
        let mut why = format!(
            "its pull request is opened when {which}{} is merged",
            quoted(&waves)
        );
        let gates: Vec<String> = places
            .iter()
            .filter_map(|place| flow.waves.get(*place))
            .flat_map(|wave| gates(&wave.gates))
            .collect();
        if !gates.is_empty() {
            why.push_str(&format!(", and then: {}", gates.join("; ")));
        }
        rules.push(Rule::of("wave", true, why));
    }
    if let Some(active) = freeze::state(&wave.freezes, now_s) {
        rules.push(Rule::of(
            "freeze",
            false,
            format!(
                "frozen now, until {}: {}",
                crate::command::utc(active.until_s),
                active.reason
            ),
        ));
    }
    let merge = if wave.auto_merge {
        "it is merged as soon as GitHub allows"
    } else {
        "a person merges it, after review"
    };
    rules.push(Rule::of("merge", true, merge.to_owned()));
    rules
}

/// What a wave asks for before the next one begins, in words.
fn gates(gates: &Gates) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(approvals) = &gates.approvals {
        let mut text = format!("{} approvals", approvals.count);
        if !approvals.teams.is_empty() {
            text.push_str(&format!(" of {}", approvals.teams.join(", ")));
        }
        if approvals.code_owners {
            text.push_str(" with the code owners");
        }
        words.push(text);
    }
    if let Some(soak_s) = gates.soak_s {
        words.push(format!("{soak_s} seconds have passed"));
    }
    if !gates.checks.is_empty() {
        words.push(format!("the checks {} succeed", gates.checks.join(", ")));
    }
    words.extend(
        gates
            .http
            .iter()
            .map(|gate| format!("{} answers as expected", gate.name)),
    );
    words.extend(
        gates
            .prometheus
            .iter()
            .map(|gate| format!("{} measures as expected", gate.name)),
    );
    words
}

fn wave_name(wave: &Wave) -> String {
    wave.name.clone().unwrap_or_else(|| {
        let groups: Vec<String> = wave.groups.iter().map(super::steps::described).collect();
        groups.join(", ")
    })
}

/// `"a", "b"`: at most ten.
fn quoted<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    let mut texts: Vec<String> = texts.into_iter().map(|text| format!("{text:?}")).collect();
    if texts.len() > 10 {
        let more = texts.len() - 10;
        texts.truncate(10);
        texts.push(format!("{more} more"));
    }
    texts.join(", ")
}
