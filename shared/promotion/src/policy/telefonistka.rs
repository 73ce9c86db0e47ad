//! Compiles Telefonistka's `telefonistka.yaml`. Its keys and their spellings are Telefonistka's
//! (<https://github.com/commercetools/telefonistka>, docs/installation.md); nothing outside this file and `component.rs`
//! knows of them.
//!
//! Read as Telefonistka reads it, with these differences, each of which mends a trap:
//!
//! - A source or target without a slash at its end is a directory all the same (with a warning); Telefonistka glues the
//!   component's name to it.
//! - Groups in a source pattern do not disturb the component's name, and alternatives are anchored as a whole.
//! - An empty `prHasLabels` is no condition; in Telefonistka it never holds.
//! - `autoMerge` is that of the flow that was chosen.
//! - A key that stands twice, a second document, a flow without a source or a list without targets is an error.

use std::collections::BTreeSet;

use super::Policy;
use super::error::PolicyErrors;
use super::flow::{Conditions, Directories, Flow, Group, Source, Target, Wave};
use super::pattern::{Budget, SourcePattern, check};
use super::protected::protected;
use super::read::{Fields, Findings};
use super::settings::{ArgoCdSettings, Settings, Supersede, WebhookEndpoint, unverified};
use super::yaml::{Mark, Node, Scalar, Value, parse};
use crate::plan::FlowRef;
use crate::{Base, PathInRepo, Selection};

/// The most patterns in a file: it bounds the time to compile them.
const MAX_FLOWS: usize = 250;
const MAX_TARGETS: usize = 10_000;
/// Keys that are understood and checked, but that nothing acts on yet; `docs/telefonistka.md` lists them, too.
const WITHOUT_EFFECT: [&str; 1] = ["argocd"];
/// How much deeper than one level components may lie.
const MAX_EXTRA_DEPTH: usize = 30;

pub(super) fn compile(file: &str, yaml: &str) -> Result<Policy, PolicyErrors> {
    let Some(root) = parse(file, yaml)? else {
        return Ok(Policy::none());
    };
    let mut findings = Findings::new(file);
    let fields = findings.fields(
        &root,
        &[
            "promotionPaths",
            "promtionPRlables",
            "promtionPrLables",
            "dryRunMode",
            "autoApprovePromotionPrs",
            "toggleCommitStatus",
            "webhookEndpointRegexs",
            "whProxtSkipTLSVerifyUpstream",
            "argocd",
        ],
        "a map of policy keys such as `promotionPaths`",
    );
    let mut budget = Budget::of_policy();
    let flows = flows(&mut findings, &mut budget, fields.get("promotionPaths"));
    let settings = settings(&mut findings, &mut budget, &fields);
    for key in WITHOUT_EFFECT {
        if let Some(node) = fields.get(key) {
            findings.warn(node.mark, format!("`{key}` is read and has no effect yet"));
        }
    }
    if let Some(node) = fields.get("whProxtSkipTLSVerifyUpstream")
        && settings.webhook_skip_tls_verify
    {
        findings.warn(node.mark, unverified("whProxtSkipTLSVerifyUpstream"));
    }
    Ok(Policy {
        known: None,
        file: file.to_owned(),
        flows,
        settings,
        warnings: findings.finish()?,
    })
}

fn flows(findings: &mut Findings<'_>, budget: &mut Budget, node: Option<&Node>) -> Vec<Flow> {
    let items = findings.list(node, "a list of flows, each with `sourcePath` and `promotionPrs`");
    if let Some(beyond) = items.get(MAX_FLOWS) {
        findings.error(
            beyond.mark,
            format!("too many flows; expected at most {MAX_FLOWS}"),
        );
        return Vec::new();
    }
    let mut targets = 0;
    let mut flows = Vec::new();
    for (index, item) in items.iter().enumerate() {
        flows.extend(flow(findings, budget, index, item, &mut targets));
        if budget.is_spent() {
            break;
        }
    }
    flows
}

fn flow(
    findings: &mut Findings<'_>,
    budget: &mut Budget,
    index: usize,
    node: &Node,
    targets: &mut usize,
) -> Option<Flow> {
    let known = [
        "sourcePath",
        "componentPathExtraDepth",
        "conditions",
        "promotionPrs",
    ];
    let fields = findings.fields(node, &known, "a flow with `sourcePath` and `promotionPrs`");
    let depth = 1 + findings.count(fields.get("componentPathExtraDepth"), MAX_EXTRA_DEPTH);
    let source = source(findings, budget, node.mark, fields.get("sourcePath"), depth);
    let (conditions, auto_merge) = conditions(findings, fields.get("conditions"));
    let prs = findings.list(
        fields.get("promotionPrs"),
        "a list of pull requests, each with `targetPaths`",
    );
    if prs.is_empty() {
        findings.warn(node.mark, "this flow has no `promotionPrs`, so it leads nowhere");
    }
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for pr in prs {
        groups.extend(group(findings, pr, &mut seen, targets));
    }
    Some(Flow {
        reference: FlowRef {
            file: findings.file.to_owned(),
            index,
            line: node.mark.line,
        },
        name: None,
        source: Source {
            branch: None,
            directories: Directories::Pattern(source?),
            file: None,
        },
        conditions,
        selection: Selection::default(),
        keys: Vec::new(),
        // All at once: what comes after it is another flow, which begins with the merge of its pull request.
        waves: vec![Wave {
            auto_merge,
            groups,
            ..Wave::default()
        }],
    })
}

fn source(
    findings: &mut Findings<'_>,
    budget: &mut Budget,
    flow: Mark,
    node: Option<&Node>,
    depth: usize,
) -> Option<SourcePattern> {
    let expected =
        "`sourcePath`, a directory that holds components, or a regular expression of such directories";
    let text = findings.text(node, expected);
    let Some((mark, text)) = text.filter(|(_, text)| !text.is_empty()) else {
        if !matches!(node.map(|node| &node.value), Some(Value::List(_) | Value::Map(_))) {
            findings.error(
                node.map_or(flow, |node| node.mark),
                format!(
                    "this flow has no source, and would promote the whole repository; expected {expected}"
                ),
            );
        }
        return None;
    };
    if text.starts_with('/') || text.starts_with("./") {
        findings.warn(
            mark,
            "paths in a repository begin with neither `/` nor `./`, so this flow never matches",
        );
    }
    match SourcePattern::compile_within(text, depth, budget) {
        Ok(pattern) => {
            if !pattern.ends_with_slash() {
                findings.warn(
                    mark,
                    "`sourcePath` has no slash at its end and is read as if it had; Telefonistka takes the whole directory \
                     for one component",
                );
            }
            Some(pattern)
        }
        Err(error) => {
            findings.error(
                mark,
                format!("expected a regular expression in Go's syntax: {error}"),
            );
            None
        }
    }
}

fn conditions(findings: &mut Findings<'_>, node: Option<&Node>) -> (Conditions, bool) {
    let Some(node) = node else {
        return (Conditions::default(), false);
    };
    let fields = findings.fields(
        node,
        &["prHasLabels", "autoMerge"],
        "conditions such as `prHasLabels` or `autoMerge`",
    );
    let labels = fields.get("prHasLabels");
    if let Some(Node {
        mark,
        value: Value::List(items),
    }) = labels
        && items.is_empty()
    {
        findings.warn(
            *mark,
            "an empty `prHasLabels` is no condition; in Telefonistka it keeps the flow from ever running",
        );
    }
    let any_label = findings
        .texts(labels, "a list of labels")
        .into_iter()
        .map(|(_, label)| label.to_owned())
        .collect();
    let auto_merge = findings.truth(fields.get("autoMerge"));
    (
        Conditions {
            any_label,
            ..Conditions::default()
        },
        auto_merge,
    )
}

fn group(
    findings: &mut Findings<'_>,
    node: &Node,
    seen_in_flow: &mut BTreeSet<PathInRepo>,
    count: &mut usize,
) -> Option<Group> {
    let fields = findings.fields(
        node,
        &["targetDescription", "targetPaths"],
        "a pull request with `targetPaths` and perhaps `targetDescription`",
    );
    let description = findings
        .text(fields.get("targetDescription"), "a short text")
        .map(|(_, text)| text.to_owned())
        .filter(|text| !text.trim().is_empty());
    let expected = "`targetPaths`, a list of directories";
    let list = fields.get("targetPaths");
    let texts = findings.texts(list, expected);
    if texts.is_empty() {
        // Unless the list itself was found wrong already.
        if list.is_none_or(|list| match &list.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Scalar(_) | Value::Map(_) => false,
        }) {
            let mark = list.map_or(node.mark, |list| list.mark);
            findings.error(
                mark,
                format!("this pull request leads nowhere; expected {expected}"),
            );
        }
        return None;
    }
    *count += texts.len();
    if *count > MAX_TARGETS {
        findings.error(
            node.mark,
            format!("too many targets; expected at most {MAX_TARGETS} in a file"),
        );
        return None;
    }
    let mut targets = Vec::new();
    let mut seen = BTreeSet::new();
    let mut without_slash = None;
    for (mark, text) in texts {
        let Some(path) = target(findings, mark, text) else {
            continue;
        };
        if !text.ends_with('/') {
            without_slash.get_or_insert(mark);
        }
        if !seen.insert(path.clone()) {
            findings.warn(
                mark,
                "this target stands twice in one pull request and counts once",
            );
            continue;
        }
        if !seen_in_flow.insert(path.clone()) {
            findings.warn(
                mark,
                "another pull request of this flow leads to this target too, so both carry the same change",
            );
        }
        targets.push(Target::directory(path));
    }
    if let Some(mark) = without_slash {
        findings.warn(
            mark,
            "a target has no slash at its end and is read as if it had; Telefonistka glues the component's name to it",
        );
    }
    (!targets.is_empty()).then_some(Group {
        description,
        base: Base::default(),
        targets,
    })
}

fn target(findings: &mut Findings<'_>, mark: Mark, text: &str) -> Option<PathInRepo> {
    let problem = match PathInRepo::parse(text) {
        Ok(path) => match protected(&path) {
            None => return Some(path),
            Some(reason) => reason,
        },
        Err(error) => error.rule,
    };
    findings.error(
        mark,
        format!("no promotion may lead here: {problem}; expected a directory such as `clusters/lab/`"),
    );
    None
}

fn settings(findings: &mut Findings<'_>, budget: &mut Budget, fields: &Fields<'_>) -> Settings {
    let mut pr_labels = Vec::new();
    for key in ["promtionPRlables", "promtionPrLables"] {
        let labels = findings.texts(fields.get(key), "a list of labels");
        pr_labels.extend(labels.into_iter().map(|(_, label)| label.to_owned()));
    }
    Settings {
        dry_run: findings.truth(fields.get("dryRunMode")),
        approve: findings.truth(fields.get("autoApprovePromotionPrs")),
        supersede: Supersede::Leave,
        accept_from: Vec::new(),
        toggle_commit_status: toggles(findings, fields.get("toggleCommitStatus"))
            .into_iter()
            .collect(),
        webhook_endpoints: webhook_endpoints(findings, budget, fields.get("webhookEndpointRegexs")),
        webhook_skip_tls_verify: findings.truth(fields.get("whProxtSkipTLSVerifyUpstream")),
        pr_labels,
        argocd: argocd(findings, budget, fields.get("argocd")),
    }
}

fn toggles(findings: &mut Findings<'_>, node: Option<&Node>) -> Vec<(String, String)> {
    let expected = "a map from comment commands to the contexts of commit statuses";
    let Some(node) = node else { return Vec::new() };
    let entries = match &node.value {
        Value::Null => &[],
        Value::Map(entries) => entries.as_slice(),
        Value::Scalar(_) | Value::List(_) => {
            findings.error(
                node.mark,
                format!("found {}; expected {expected}", node.value.kind()),
            );
            &[]
        }
    };
    let mut toggles = Vec::new();
    for (key, value) in entries {
        let Value::Scalar(Scalar { text: command, .. }) = &key.value else {
            findings.error(
                key.mark,
                format!("found {}; expected {expected}", key.value.kind()),
            );
            continue;
        };
        let context = findings.text(Some(value), "the context of a commit status");
        toggles.push((
            command.clone(),
            context.map(|(_, text)| text.to_owned()).unwrap_or_default(),
        ));
    }
    toggles
}

fn webhook_endpoints(
    findings: &mut Findings<'_>,
    budget: &mut Budget,
    node: Option<&Node>,
) -> Vec<WebhookEndpoint> {
    let items = findings.list(node, "a list of endpoints with `expression` and `replacements`");
    if let Some(beyond) = items.get(MAX_FLOWS) {
        findings.error(
            beyond.mark,
            format!("too many endpoints; expected at most {MAX_FLOWS}"),
        );
        return Vec::new();
    }
    let mut endpoints = Vec::new();
    for item in items {
        let fields = findings.fields(
            item,
            &["expression", "replacements"],
            "an endpoint with `expression` and `replacements`",
        );
        let expression = expression(findings, budget, fields.get("expression")).unwrap_or_default();
        let replacements = findings.texts(fields.get("replacements"), "a list of addresses");
        endpoints.push(WebhookEndpoint {
            expression,
            replacements: replacements
                .into_iter()
                .map(|(_, text)| text.to_owned())
                .collect(),
        });
    }
    endpoints
}

fn argocd(findings: &mut Findings<'_>, budget: &mut Budget, node: Option<&Node>) -> ArgoCdSettings {
    let Some(node) = node else {
        return ArgoCdSettings::default();
    };
    let fields = findings.fields(
        node,
        &[
            "commentDiffonPR",
            "autoMergeNoDiffPRs",
            "allowSyncfromBranchPathRegex",
            "useSHALabelForAppDiscovery",
            "createTempAppObjectFromNewApps",
        ],
        "a map of Argo CD keys such as `commentDiffonPR`",
    );
    ArgoCdSettings {
        comment_diff: findings.truth(fields.get("commentDiffonPR")),
        auto_merge_no_diff: findings.truth(fields.get("autoMergeNoDiffPRs")),
        allow_sync_from_branch: expression(findings, budget, fields.get("allowSyncfromBranchPathRegex"))
            .filter(|expression| !expression.is_empty()),
        use_sha_label: findings.truth(fields.get("useSHALabelForAppDiscovery")),
        create_temporary_apps: findings.truth(fields.get("createTempAppObjectFromNewApps")),
    }
}

/// A regular expression that is kept as text.
fn expression(findings: &mut Findings<'_>, budget: &mut Budget, node: Option<&Node>) -> Option<String> {
    let (mark, text) = findings.text(node, "a regular expression")?;
    // One error about the file's patterns together is enough.
    if budget.is_spent() {
        return None;
    }
    if let Err(error) = check(text, budget) {
        findings.error(
            mark,
            format!("expected a regular expression in Go's syntax: {error}"),
        );
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests;
