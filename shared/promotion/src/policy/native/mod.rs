//! Compiles Lockflight's own policy, `lockflight.yaml`. Its keys are described in `docs/policy.md`, and for editors by the types of
//! `schema`, which say the same as what is read here.
//!
//! Unlike Telefonistka's file this one is read strictly: an unknown key, a number where text is meant, or a name that means nothing is
//! an error with its place and what was expected.

mod flows;
mod freezes;
mod gates;
mod places;
pub(super) mod read;
mod settings;
mod waves;

use super::Policy;
use super::component::Known;
use super::error::PolicyErrors;
use super::pattern::Budget;
use super::read::Findings;
use super::yaml::{Mark, Node, Scalar, Value, parse};
use crate::Selection;
use places::Places;
use settings::Defaults;

/// The top-level keys.
const KEYS: [&str; 11] = [
    "version",
    "environments",
    "components",
    "flows",
    "select",
    "defaults",
    "gates",
    "freezes",
    "webhooks",
    "commands",
    "accept_from",
];

/// What the flows of a file share.
struct Shared<'s> {
    places: &'s mut Places,
    servers: &'s gates::Servers,
    freezes: &'s [freezes::Placed],
    defaults: Defaults,
    selection: Selection,
    depth: usize,
    budget: &'s mut Budget,
    /// How many there are so far.
    targets: usize,
}

pub(super) fn compile(file: &str, yaml: &str) -> Result<Policy, PolicyErrors> {
    let mut findings = Findings::new(file);
    let Some(root) = parse(file, yaml)? else {
        return Err(PolicyErrors::whole(
            file,
            "the file is empty; expected `version: 1`, `environments` and `flows`, or no file",
        ));
    };
    let root = without_extensions(root);
    let Some(map) = findings.map(&root, &KEYS, "a map with `version`, `environments` and `flows`") else {
        return finish(findings, file, Vec::new(), super::Settings::default(), None);
    };
    let version = findings.required(&map, "version", "`version: 1`");
    if findings.whole(version, 1, 1).is_none() {
        // The rest may follow other rules.
        return finish(findings, file, Vec::new(), super::Settings::default(), None);
    }
    let mut budget = Budget::of_policy();
    let mut places = places::compile(&mut findings, map.get("environments"));
    let depth = flows::depth(&mut findings, map.get("components")).unwrap_or(1);
    let selection = map
        .get("select")
        .map_or_else(Selection::default, |node| flows::selection(&mut findings, node));
    let servers = gates::servers(&mut findings, map.get("gates"));
    let freezes = freezes::compile(&mut findings, &mut places, map.get("freezes"));
    let defaults = settings::defaults(&mut findings, map.get("defaults"));
    let settings = settings::compile(&mut findings, &mut budget, &map, &defaults);
    let mut shared = Shared {
        places: &mut places,
        servers: &servers,
        freezes: &freezes,
        defaults,
        selection,
        depth,
        budget: &mut budget,
        targets: 0,
    };
    let flows = flows::compile(&mut findings, &mut shared, map.get("flows"));
    // A repository that only takes promotions of others needs none.
    if map.get("flows").is_none() && settings.accept_from.is_empty() {
        findings.warn(Mark::START, "this policy has no `flows`, so nothing is promoted");
    }
    let known = places.known();
    finish(findings, file, flows, settings, Some(known))
}

fn finish(
    findings: Findings<'_>,
    file: &str,
    flows: Vec<super::Flow>,
    settings: super::Settings,
    known: Option<Known>,
) -> Result<Policy, PolicyErrors> {
    Ok(Policy {
        file: file.to_owned(),
        flows,
        settings,
        known,
        warnings: findings.finish()?,
    })
}

/// The file without top-level keys that begin with `x-`: they hold what anchors are put on.
fn without_extensions(root: Node) -> Node {
    let Node { mark, value } = root;
    let value = match value {
        Value::Map(entries) => {
            let is_extension = |key: &Node| matches!(&key.value, Value::Scalar(Scalar { text, .. }) if text.starts_with("x-"));
            Value::Map(
                entries
                    .into_iter()
                    .filter(|(key, _)| !is_extension(key))
                    .collect(),
            )
        }
        other @ (Value::Null | Value::Scalar(_) | Value::List(_)) => other,
    };
    Node { mark, value }
}

#[cfg(test)]
pub(super) mod tests;
