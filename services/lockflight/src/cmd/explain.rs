//! `lockflight explain`: rule by rule, why a component goes to each target, or does not.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use lockflight_git::{LocalError, LocalRepository};
use lockflight_promotion::plan::{
    ExplainedFlow, ExplainedTarget, Explanation, Fate, Rule, components_of, explain,
};
use lockflight_promotion::policy::{NATIVE_FILE, Policy, TELEFONISTKA_FILE};
use lockflight_promotion::{CommitOid, PathInRepo};
use serde::Serialize;

use super::{drift, not_found, validate};
use crate::cli::explain::ExplainArgs;
use crate::cli::{ListFormat, ReportFormat};
use crate::exit::Exit;
use crate::offline::{Offline, OfflineError};

/// The most names that are listed where none fits.
const MOST_NAMES: usize = 10;

/// Prints what each flow does with the component.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let repo = match LocalRepository::open(&args.repo) {
        Err(error @ LocalError::NotARepository { .. }) => return Ok(not_found(&error.into())),
        opened => opened?,
    };
    let head = match repo.resolve(&args.head) {
        Err(error @ LocalError::NoSuchRevision { .. }) => return Ok(not_found(&error.into())),
        head => head?,
    };
    let labels = args.labels.iter().cloned().collect();
    let mut offline = Offline::new(&repo, head.clone(), head.clone(), labels)?;
    if let Some(branch) = &args.branch {
        offline = offline.onto(branch.clone());
    }
    if let Some(author) = &args.author {
        offline = offline.by(author.clone());
    }
    let found = match offline.policy() {
        Ok(None) => {
            return Ok(not_found(&anyhow::anyhow!(
                "there is neither {NATIVE_FILE} nor {TELEFONISTKA_FILE} at {head}, so nothing is promoted"
            )));
        }
        Ok(Some(policy)) => look(&repo, &head, &offline, &policy, &args.component),
        Err(error) => Err(error),
    };
    let mut found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(unknown)) => return Ok(not_found(&unknown)),
        Err(OfflineError::Policy(errors)) => {
            validate::print(ReportFormat::Human, errors.iter(), [], &mut std::io::stderr())?;
            return Ok(Exit::Invalid);
        }
        Err(OfflineError::Other(error)) => return Err(error),
    };
    let asked = match wanted(&args.targets) {
        Ok(asked) => asked,
        Err(error) => {
            crate::complain(&error);
            return Ok(Exit::Usage);
        }
    };
    if !asked.is_empty() {
        for flow in found.iter_mut().flat_map(|one| &mut one.flows) {
            flow.targets
                .retain(|target| asked.iter().any(|wanted| target.to.is_within(wanted)));
        }
        for one in &mut found {
            one.flows.retain(|flow| !flow.targets.is_empty());
        }
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        ListFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &Document::new(&head, &found))?;
            writeln!(out)?;
        }
        ListFormat::Table => {
            for one in &found {
                table(one, !asked.is_empty(), &mut out)?;
            }
        }
    }
    Ok(Exit::Success)
}

fn wanted(targets: &[String]) -> anyhow::Result<Vec<PathInRepo>> {
    let mut wanted = Vec::new();
    for target in targets {
        let path = PathInRepo::parse(target.trim_matches('/'))
            .map_err(|error| anyhow::Error::new(error).context(format!("--target {target:?} is no path")))?;
        wanted.push(path);
    }
    Ok(wanted)
}

/// Explains every component of that name, or says that there is none.
fn look(
    repo: &LocalRepository,
    head: &CommitOid,
    offline: &Offline<'_>,
    policy: &Policy,
    name: &str,
) -> Result<anyhow::Result<Vec<Explanation>>, OfflineError> {
    let name = name.trim_matches('/');
    let files = drift::files(repo, head, policy)?;
    let components = components_of(policy, files.iter().map(String::as_str));
    let is = |path: &str| path == name || path.strip_suffix(name).is_some_and(|above| above.ends_with('/'));
    let mut meant: BTreeMap<PathInRepo, Vec<String>> = components
        .iter()
        // The path itself means that component alone, even where its name ends the path of another one.
        .filter(|(path, _)| is(path.as_str()))
        .map(|(path, files)| (path.clone(), files.clone()))
        .collect();
    if let Ok(path) = PathInRepo::parse(name) {
        if let Some(files) = components.get(&path) {
            meant = BTreeMap::from([(path, files.clone())]);
        } else if meant.is_empty() {
            // Where no flow begins there are still reasons to give.
            let below = below(repo, head, &path)?;
            if !below.is_empty() {
                meant.insert(path, below);
            }
        }
    }
    if meant.is_empty() {
        return Ok(Err(unknown(name, components.keys())));
    }
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let mut found = Vec::new();
    for (component, files) in meant {
        let facts = offline.facts(policy, files)?;
        let explained = explain(policy, &facts, &component, now_s)
            .map_err(|error| anyhow::Error::new(error).context(format!("{component} can't be explained")))?;
        found.push(explained);
    }
    Ok(Ok(found))
}

/// The files below a directory that no flow begins at.
fn below(repo: &LocalRepository, head: &CommitOid, path: &PathInRepo) -> anyhow::Result<Vec<String>> {
    let listings = repo.listings(head, std::slice::from_ref(path))?;
    let files = listings.into_values().flat_map(|listing| listing.into_keys());
    Ok(files
        .map(|file| format!("{path}/{}", String::from_utf8_lossy(&file)))
        .collect())
}

fn unknown<'p>(name: &str, components: impl Iterator<Item = &'p PathInRepo>) -> anyhow::Error {
    let names: Vec<&str> = components.map(PathInRepo::as_str).collect();
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_lowercase();
    let wanted = last(name);
    let mut near: Vec<&str> = names
        .iter()
        .copied()
        .filter(|path| {
            let path = last(path);
            path.contains(&wanted) || wanted.contains(&path)
        })
        .collect();
    let more = if near.is_empty() {
        "there are"
    } else {
        "did you mean"
    };
    if near.is_empty() {
        near = names;
    }
    let all = near.len();
    near.truncate(MOST_NAMES);
    let end = if all > near.len() { " …" } else { "" };
    if near.is_empty() {
        anyhow::anyhow!("there is no component {name:?}: no flow of the policy begins at any file")
    } else {
        anyhow::anyhow!("there is no component {name:?}; {more} {}{end}", near.join(", "))
    }
}

/// The document of `-o json`. Its fields are a promise: they are only ever added to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'e> {
    api_version: &'static str,
    head: &'e str,
    components: Vec<ComponentDocument<'e>>,
}

#[derive(Serialize)]
struct ComponentDocument<'e> {
    component: &'e str,
    flows: Vec<FlowDocument<'e>>,
    notes: &'e [String],
}

#[derive(Serialize)]
struct FlowDocument<'e> {
    file: &'e str,
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'e str>,
    source: &'e str,
    applies: bool,
    rules: Vec<RuleDocument<'e>>,
    targets: Vec<TargetDocument<'e>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetDocument<'e> {
    wave: usize,
    wave_name: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    to: &'e str,
    fate: &'static str,
    rules: Vec<RuleDocument<'e>>,
}

#[derive(Serialize)]
struct RuleDocument<'e> {
    rule: &'e str,
    holds: bool,
    why: &'e str,
}

impl<'e> Document<'e> {
    fn new(head: &'e CommitOid, found: &'e [Explanation]) -> Self {
        Self {
            api_version: "lockflight/v1",
            head: head.as_str(),
            components: found
                .iter()
                .map(|one| ComponentDocument {
                    component: one.component.as_str(),
                    flows: one.flows.iter().map(FlowDocument::new).collect(),
                    notes: &one.notes,
                })
                .collect(),
        }
    }
}

impl<'e> FlowDocument<'e> {
    fn new(flow: &'e ExplainedFlow) -> Self {
        Self {
            file: &flow.flow.file,
            line: flow.flow.line,
            name: flow.name.as_deref(),
            source: &flow.source,
            applies: flow.applies,
            rules: rules(&flow.rules),
            targets: flow.targets.iter().map(TargetDocument::new).collect(),
        }
    }
}

impl<'e> TargetDocument<'e> {
    fn new(target: &'e ExplainedTarget) -> Self {
        Self {
            wave: target.wave,
            wave_name: &target.wave_name,
            repository: target.base.repo.as_ref().map(ToString::to_string),
            branch: target.base.branch.as_ref().map(ToString::to_string),
            to: target.to.as_str(),
            fate: match target.fate {
                Fate::Goes => "goes",
                Fate::Equal => "equal",
                Fate::Refused => "refused",
                Fate::NotAsked => "not_asked",
            },
            rules: rules(&target.rules),
        }
    }
}

fn rules(rules: &[Rule]) -> Vec<RuleDocument<'_>> {
    rules
        .iter()
        .map(|rule| RuleDocument {
            rule: rule.rule,
            holds: rule.holds,
            why: &rule.why,
        })
        .collect()
}

fn table(one: &Explanation, by_target: bool, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}", one.component)?;
    if one.flows.is_empty() {
        let what = if by_target {
            "no flow leads to that target"
        } else {
            "the policy has no flow"
        };
        writeln!(out, "  {what}")?;
    }
    for flow in &one.flows {
        let name = flow
            .name
            .as_ref()
            .map(|name| format!(" {name:?}"))
            .unwrap_or_default();
        let verdict = if flow.applies { "applies" } else { "does not apply" };
        writeln!(
            out,
            "\n  {}:{}: the flow{name} {verdict}",
            flow.flow.file, flow.flow.line
        )?;
        written(&flow.rules, "    ", out)?;
        for target in &flow.targets {
            let fate = match target.fate {
                Fate::Goes => "goes",
                Fate::Equal => "is equal already",
                Fate::Refused => "does not go",
                // The flow as a whole has said why.
                Fate::NotAsked => continue,
            };
            let at = if target.base.is_own() {
                String::new()
            } else {
                format!(" in {}", target.base)
            };
            let to = if target.to.is_root() {
                "."
            } else {
                target.to.as_str()
            };
            writeln!(
                out,
                "    {to}{at} (wave {}, {}): {fate}",
                target.wave, target.wave_name
            )?;
            written(&target.rules, "      ", out)?;
        }
    }
    for note in &one.notes {
        writeln!(out, "\n  Note: {note}")?;
    }
    Ok(())
}

fn written(rules: &[Rule], indent: &str, out: &mut impl Write) -> std::io::Result<()> {
    for rule in rules {
        let sign = if rule.holds { "yes" } else { "no" };
        writeln!(out, "{indent}{sign:<3} {:<10} {}", rule.rule, rule.why)?;
    }
    Ok(())
}
