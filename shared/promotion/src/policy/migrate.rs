//! From Telefonistka's policy to Lockflight's own, so that both lead to the same pull requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::component::ComponentPolicy;
use super::error::PolicyErrors;
use super::flow::{Directories, Flow};
use super::protected::NATIVE_FILE;
use super::read::Findings;
use super::settings::{ArgoCdSettings, Settings};
use super::yaml::parse;
use super::{Policy, native};

/// Why a policy can't be written in Lockflight's own form.
#[derive(Debug, thiserror::Error)]
pub enum Unmigratable {
    /// Two pull requests of one flow lead to the same target.
    #[error(
        "{file}:{line}: two pull requests of this flow lead to {target}; in a `{NATIVE_FILE}` each place stands once in a flow. Take one of them out first"
    )]
    Twice {
        /// The policy.
        file: String,
        /// The line of the flow.
        line: usize,
        /// The target.
        target: String,
    },
    /// Something has no form of its own.
    #[error("the policy says something that a `{NATIVE_FILE}` has no form for; take it out first:\n{0}")]
    NoForm(PolicyErrors),
}

/// The text of a `lockflight.yaml` that leads to the same pull requests as a policy of Telefonistka's.
///
/// Comments say where each flow came from and what was left out, which is only what has no effect.
///
/// # Errors
/// When the policy says something that has no form there.
pub fn migrate(policy: &Policy) -> Result<String, Unmigratable> {
    let mut text = format!(
        "# Written from {}; both lead to the same pull requests.\nversion: 1\n",
        policy.file()
    );
    let names = places(policy);
    environments(&mut text, &names);
    settings(&mut text, policy.settings());
    if !policy.flows().is_empty() {
        text.push_str("\n# For each changed file the first flow counts whose source it lies in and whose conditions hold.\nflows:\n");
    }
    for flow in policy.flows() {
        self::flow(&mut text, flow, &names)?;
    }
    match Policy::compile(NATIVE_FILE, &text) {
        Ok(_) => Ok(text),
        Err(errors) => Err(Unmigratable::NoForm(errors)),
    }
}

/// A component's `telefonistka.yaml` as a `lockflight.yaml`; none if it says nothing about targets.
///
/// # Errors
/// When the file is wrong.
pub fn migrate_component(file: &str, yaml: &str) -> Result<Option<String>, PolicyErrors> {
    ComponentPolicy::compile(file, yaml)?;
    let Some(root) = parse(file, yaml)? else {
        return Ok(None);
    };
    let keys = ["promotionTargetAllowList", "promotionTargetBlockList"];
    let mut findings = Findings::new(file);
    let fields = findings.fields(&root, &keys, "a map");
    let mut text = format!("# Written from {file}.\nversion: 1\ntargets:\n");
    let mut is_empty = true;
    for (key, name) in keys.iter().zip(["allow", "block"]) {
        let patterns = findings.texts(fields.get(key), "a list of regular expressions");
        if patterns.is_empty() {
            continue;
        }
        is_empty = false;
        line(&mut text, &format!("  {name}:"));
        for (_, pattern) in patterns {
            line(&mut text, &format!("    - {{ pattern: {} }}", quoted(pattern)));
        }
    }
    Ok((!is_empty).then_some(text))
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Where the targets of all flows are: a name for each path.
fn places(policy: &Policy) -> BTreeMap<String, (String, Option<String>)> {
    let paths: BTreeSet<&str> = policy
        .flows()
        .iter()
        .flat_map(|flow| &flow.waves)
        .flat_map(|wave| &wave.groups)
        .flat_map(|group| &group.targets)
        .map(|target| target.path.as_str())
        .collect();
    named(&paths)
}

/// A name of an environment, and of a failure domain where it has several segments, for each path.
pub(super) fn named(paths: &BTreeSet<&str>) -> BTreeMap<String, (String, Option<String>)> {
    // What all have in common says nothing, but for the last segment.
    let parents = paths.iter().map(|path| {
        let segments: Vec<&str> = path.split('/').collect();
        segments
            .split_last()
            .map(|(_, parents)| parents.to_vec())
            .unwrap_or_default()
    });
    let common = parents
        .reduce(|common, parents| {
            let same = common.iter().zip(&parents).take_while(|(a, b)| a == b).count();
            common.into_iter().take(same).collect()
        })
        .map_or(0, |common| common.len());
    let mut taken = BTreeSet::new();
    let mut whole = BTreeSet::new();
    let split = |path: &str| {
        let segments: Vec<&str> = path.split('/').skip(common).collect();
        let (first, rest) = segments
            .split_first()
            .map_or(("", &[][..]), |(first, rest)| (*first, rest));
        (word(first), (!rest.is_empty()).then(|| word(&rest.join("-"))))
    };
    for path in paths {
        let (environment, domain) = split(path);
        if domain.is_none() {
            whole.insert(environment);
        }
    }
    let mut names = BTreeMap::new();
    for path in paths {
        let (environment, domain) = split(path);
        // An environment has failure domains, or is a place itself.
        let (environment, domain) = match domain {
            Some(domain) if whole.contains(&environment) => (word(&format!("{environment}-{domain}")), None),
            domain => (environment, domain),
        };
        let mut name = (environment, domain);
        let mut number = 2;
        loop {
            let other_kind = |(other, domain): &(String, Option<String>)| {
                *other == name.0 && domain.is_some() != name.1.is_some()
            };
            let is_other_kind = taken.iter().any(other_kind);
            if !is_other_kind && !taken.contains(&name) {
                break;
            }
            let last = match &mut name.1 {
                Some(domain) if !is_other_kind => domain,
                _ => &mut name.0,
            };
            let bare: String = last.chars().take(56).collect();
            *last = format!("{bare}-{number}");
            number += 1;
        }
        taken.insert(name.clone());
        names.insert((*path).to_owned(), name);
    }
    names
}

/// Text as a name.
pub(super) fn word(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "_.-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = text.chars().map(plain).take(60).collect();
    let name = name.trim_start_matches(['-', '.', '_']);
    if name.is_empty() {
        "place".to_owned()
    } else {
        name.to_owned()
    }
}

fn environments(text: &mut String, names: &BTreeMap<String, (String, Option<String>)>) {
    if names.is_empty() {
        return;
    }
    let mut environments: BTreeMap<&str, Vec<(Option<&str>, &str)>> = BTreeMap::new();
    for (path, (environment, domain)) in names {
        environments
            .entry(environment)
            .or_default()
            .push((domain.as_deref(), path));
    }
    text.push_str("\nenvironments:\n");
    for (environment, places) in environments {
        let environment = quoted(environment);
        if let [(None, path)] = places.as_slice() {
            line(text, &format!("  {environment}: {{ path: {} }}", quoted(path)));
            continue;
        }
        line(text, &format!("  {environment}:\n    domains:"));
        for (domain, path) in places {
            let domain = quoted(domain.unwrap_or_default());
            line(text, &format!("      {domain}: {{ path: {} }}", quoted(path)));
        }
    }
}

fn settings(text: &mut String, settings: &Settings) {
    // Taken apart, so that none is forgotten.
    let Settings {
        dry_run,
        approve,
        supersede: _,
        accept_from: _,
        toggle_commit_status,
        webhook_endpoints,
        webhook_skip_tls_verify,
        pr_labels,
        argocd,
    } = settings;
    text.push_str("\ndefaults:\n  # As Telefonistka does: a newer change leaves older pull requests alone.\n  supersede: leave\n");
    for (name, flag) in [("dry_run", dry_run), ("approve", approve)] {
        if *flag {
            line(text, &format!("  {name}: true"));
        }
    }
    if !webhook_endpoints.is_empty() {
        text.push_str("\nwebhooks:\n");
        if *webhook_skip_tls_verify {
            line(text, "  skip_tls_verify: true");
        }
        line(text, "  endpoints:");
        for endpoint in webhook_endpoints {
            line(text, &format!("    - paths: {}", quoted(&endpoint.expression)));
            line(
                text,
                &format!(
                    "      send_to: {}",
                    list(endpoint.replacements.iter().map(String::as_str))
                ),
            );
        }
    }
    let is_command = |command: &str| {
        !command.starts_with('/')
            && !command.contains(char::is_whitespace)
            && (1..=64).contains(&command.len())
    };
    let (kept, left): (Vec<_>, Vec<_>) = toggle_commit_status
        .iter()
        .partition(|(command, context)| is_command(command) && !context.trim().is_empty());
    if !kept.is_empty() {
        text.push_str("\ncommands:\n  toggle:\n");
        for (command, context) in kept {
            line(text, &format!("    {}: {}", quoted(command), quoted(context)));
        }
    }
    for (is_left, what) in [
        (
            !left.is_empty(),
            "entries of toggleCommitStatus that are no command or name no status",
        ),
        (!pr_labels.is_empty(), "promtionPRlables, which was never used"),
        (
            *argocd != ArgoCdSettings::default(),
            "argocd, which has no effect",
        ),
    ] {
        if is_left {
            line(text, &format!("# Left out: {what}."));
        }
    }
}

fn flow(
    text: &mut String,
    flow: &Flow,
    names: &BTreeMap<String, (String, Option<String>)>,
) -> Result<(), Unmigratable> {
    let reference = &flow.reference;
    line(text, &format!("  # {}:{}", reference.file, reference.line));
    let directories = &flow.source.directories;
    let pattern = match directories {
        Directories::Pattern(pattern) => {
            let slash = if pattern.ends_with_slash() { "/" } else { "" };
            quoted(&format!("{}{slash}", pattern.as_str()))
        }
        Directories::One { path, .. } => quoted(path.as_str()),
    };
    line(text, &format!("  - from: {{ pattern: {pattern} }}"));
    if !flow.conditions.any_label.is_empty() {
        let labels = list(flow.conditions.any_label.iter().map(String::as_str));
        line(text, &format!("    when: {{ labels: {labels} }}"));
    }
    if directories.depth() != 1 {
        line(
            text,
            &format!("    components: {{ depth: {} }}", directories.depth()),
        );
    }
    let waves: Vec<_> = flow.waves.iter().filter(|wave| !wave.groups.is_empty()).collect();
    if waves.is_empty() {
        line(text, "    waves: []");
        return Ok(());
    }
    line(text, "    waves:");
    let mut seen = BTreeSet::new();
    for wave in waves {
        line(
            text,
            &format!(
                "      - merge: {}",
                if wave.auto_merge { "auto" } else { "manual" }
            ),
        );
        line(text, "        pull_requests:");
        for group in &wave.groups {
            let paths: Vec<&str> = group.targets.iter().map(|target| target.path.as_str()).collect();
            if let Some(twice) = paths.iter().find(|path| !seen.insert(**path)) {
                return Err(Unmigratable::Twice {
                    file: reference.file.clone(),
                    line: reference.line,
                    target: (*twice).to_owned(),
                });
            }
            // What Telefonistka's pull requests are called without a description.
            let description = group.description.clone().unwrap_or_else(|| paths.join(" "));
            let to: Vec<String> = paths
                .iter()
                .filter_map(|path| names.get(*path))
                .map(|(environment, domain)| match domain {
                    Some(domain) => format!("{environment}/{domain}"),
                    None => environment.clone(),
                })
                .collect();
            line(text, &format!("          - name: {}", quoted(&description)));
            line(
                text,
                &format!("            to: {}", list(to.iter().map(String::as_str))),
            );
        }
    }
    Ok(())
}

fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let texts: Vec<String> = texts.map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

/// Text as YAML takes it for text: bare where nobody could take it for anything else, or else in double quotes.
pub(super) fn quoted(text: &str) -> String {
    let is_bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str())
        && !native::read::is_number(text);
    if is_bare {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // Writing to a String cannot fail.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(quoted, "\\u{:04x}", u32::from(c)).unwrap_or_default();
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
