//! What a policy says beside its flows.

use super::super::pattern::{Budget, check};
use super::super::read::Findings;
use super::super::settings::{Settings, Supersede, WebhookEndpoint, unverified};
use super::super::yaml::{Node, Scalar, Value};
use super::read::Map;
use super::waves::{MERGE, TOGETHER, Together};
use crate::location::globs;

/// The most endpoints, addresses and commands.
const MAX_ENTRIES: usize = 250;

const SUPERSEDE: [(&str, Supersede); 3] = [
    ("update", Supersede::Update),
    ("close", Supersede::Close),
    ("leave", Supersede::Leave),
];

/// What holds where a wave says nothing else, and what holds for all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) auto_merge: bool,
    pub(super) together: Together,
    supersede: Supersede,
    approve: bool,
    dry_run: bool,
}

pub(super) fn defaults(findings: &mut Findings<'_>, node: Option<&Node>) -> Defaults {
    let mut defaults = Defaults {
        auto_merge: false,
        together: Together::Wave,
        supersede: Supersede::default(),
        approve: false,
        dry_run: false,
    };
    let Some(node) = node else { return defaults };
    let known = ["merge", "pull_requests", "supersede", "approve", "dry_run"];
    let Some(map) = findings.map(node, &known, "defaults such as `merge` or `pull_requests`") else {
        return defaults;
    };
    defaults.auto_merge = findings.choice(map.get("merge"), &MERGE).unwrap_or_default();
    defaults.together = findings
        .choice(map.get("pull_requests"), &TOGETHER)
        .unwrap_or(Together::Wave);
    defaults.supersede = findings
        .choice(map.get("supersede"), &SUPERSEDE)
        .unwrap_or_default();
    defaults.approve = findings.flag(map.get("approve")).unwrap_or_default();
    defaults.dry_run = findings.flag(map.get("dry_run")).unwrap_or_default();
    defaults
}

pub(super) fn compile(
    findings: &mut Findings<'_>,
    budget: &mut Budget,
    map: &Map<'_>,
    defaults: &Defaults,
) -> Settings {
    let mut settings = Settings {
        dry_run: defaults.dry_run,
        approve: defaults.approve,
        supersede: defaults.supersede,
        ..Settings::default()
    };
    if let Some(node) = map.get("webhooks") {
        webhooks(findings, budget, node, &mut settings);
    }
    if let Some(node) = map.get("commands") {
        commands(findings, node, &mut settings);
    }
    settings.accept_from = accept_from(findings, map.get("accept_from"));
    settings
}

fn accept_from(findings: &mut Findings<'_>, node: Option<&Node>) -> Vec<String> {
    let words = findings.words(
        node,
        "a list of repositories, as `owner/name` or a glob such as `acme/*`",
    );
    if let Some((mark, _)) = words.get(MAX_ENTRIES) {
        findings.error(
            *mark,
            format!("too many repositories; expected at most {MAX_ENTRIES}"),
        );
        return Vec::new();
    }
    let mut accepted = Vec::with_capacity(words.len());
    for (mark, word) in words {
        let word = word.to_lowercase();
        if word.split('/').count() != 2 {
            findings.error(
                mark,
                "this is not a repository; expected `owner/name`, or a glob such as `acme/*`",
            );
        } else if let Err(error) = globs(std::slice::from_ref(&word)) {
            findings.error(mark, error.to_string());
        } else {
            accepted.push(word);
        }
    }
    accepted
}

fn webhooks(findings: &mut Findings<'_>, budget: &mut Budget, node: &Node, settings: &mut Settings) {
    let Some(map) = findings.map(node, &["endpoints", "skip_tls_verify"], "a map with `endpoints`") else {
        return;
    };
    settings.webhook_skip_tls_verify = findings.flag(map.get("skip_tls_verify")).unwrap_or_default();
    if let Some(node) = map.get("skip_tls_verify")
        && settings.webhook_skip_tls_verify
    {
        findings.warn(node.mark, unverified("webhooks.skip_tls_verify"));
    }
    let expected = "a list of endpoints, each with `paths` and `send_to`";
    let endpoints = findings.required(&map, "endpoints", expected);
    let items = findings.items(endpoints, expected);
    if let Some(beyond) = items.get(MAX_ENTRIES) {
        findings.error(
            beyond.mark,
            format!("too many endpoints; expected at most {MAX_ENTRIES}"),
        );
        return;
    }
    for item in items {
        let Some(map) = findings.map(
            item,
            &["paths", "send_to"],
            "an endpoint with `paths` and `send_to`",
        ) else {
            continue;
        };
        let expected = "a regular expression of changed paths";
        let paths = findings.required(&map, "paths", expected);
        let paths = findings.word(paths, expected);
        let expected = "a list of addresses, in which `$1` or `${1}` stand for groups of `paths`";
        let send_to = findings.required(&map, "send_to", expected);
        let send_to = findings.words(send_to, expected);
        if let Some((mark, _)) = send_to.get(MAX_ENTRIES) {
            findings.error(
                *mark,
                format!("too many addresses; expected at most {MAX_ENTRIES}"),
            );
        }
        let Some((mark, expression)) = paths else { continue };
        if budget.is_spent() {
            return;
        }
        if let Err(error) = check(expression, budget) {
            findings.error(
                mark,
                format!("expected a regular expression in Go's syntax: {error}"),
            );
        }
        settings.webhook_endpoints.push(WebhookEndpoint {
            expression: expression.to_owned(),
            replacements: send_to.into_iter().map(|(_, text)| text.to_owned()).collect(),
        });
    }
}

fn commands(findings: &mut Findings<'_>, node: &Node, settings: &mut Settings) {
    let Some(map) = findings.map(node, &["toggle"], "a map with `toggle`") else {
        return;
    };
    let expected = "a map from comment commands, without their slash, to the names of commit statuses";
    let Some(node) = map.get("toggle") else { return };
    let Value::Map(entries) = &node.value else {
        findings.mismatch(node, expected);
        return;
    };
    if let Some((beyond, _)) = entries.get(MAX_ENTRIES) {
        findings.error(
            beyond.mark,
            format!("too many commands; expected at most {MAX_ENTRIES}"),
        );
        return;
    }
    for (key, value) in entries {
        let Value::Scalar(Scalar { text: command, .. }) = &key.value else {
            findings.mismatch(key, expected);
            continue;
        };
        let is_command = (1..=64).contains(&command.len())
            && !command.starts_with('/')
            && !command.chars().any(|c| c.is_whitespace() || c.is_control());
        if !is_command {
            findings.error(
                key.mark,
                "this is not a command; expected 1 to 64 characters without spaces and without the slash",
            );
            continue;
        }
        if let Some((_, context)) = findings.word(Some(value), "the name of a commit status") {
            settings
                .toggle_commit_status
                .insert(command.clone(), context.to_owned());
        }
    }
}
