//! A component's own policy: which targets it may go to. `<component>/lockflight.yaml`, or Telefonistka's
//! `<component>/telefonistka.yaml`.

mod native;

use std::collections::BTreeSet;

use super::error::{PolicyError, PolicyErrors};
use super::flow::Target;
use super::native::read::nearest;
use super::pattern::{Budget, TargetPattern};
use super::read::Findings;
use super::yaml::{Node, parse};
use crate::PathInRepo;

/// The most entries in one list.
const MAX_ENTRIES: usize = 250;

/// What the lists are called in Telefonistka's file: of those that are allowed, and of those that are not.
const TELEFONISTKA_LISTS: (&str, &str) = ("promotionTargetAllowList", "promotionTargetBlockList");

/// Which targets a component may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentPolicy {
    file: String,
    /// What its lists are called.
    lists: (&'static str, &'static str),
    /// The line that the list begins on; none if the list is missing or empty.
    allow: Option<List>,
    block: Option<List>,
    disable_diff: bool,
    warnings: Vec<PolicyError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    line: usize,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    line: usize,
    means: Means,
}

/// How an entry says which targets it means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Means {
    Pattern(TargetPattern),
    Places(native::Places),
}

/// What a policy knows by name, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Environments, and places as `environment/domain`.
    pub(super) names: BTreeSet<String>,
    /// The directories of the places.
    pub(super) paths: BTreeSet<PathInRepo>,
}

impl Known {
    /// Whether `text`, which is no glob, can mean anything: a name, a place's directory, what that lies in, or what lies in it.
    fn has(&self, text: &str) -> bool {
        let is_within = |path: &str, directory: &str| {
            path.strip_prefix(directory)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.names.contains(text)
            || self.paths.iter().any(|path| {
                path.as_str().is_empty() || is_within(path.as_str(), text) || is_within(text, path.as_str())
            })
    }

    /// The name that was likely meant.
    fn nearest(&self, text: &str) -> Option<&str> {
        // A domain without its environment is a slip, too.
        let names = || self.names.iter().map(String::as_str);
        names()
            .find(|name| name.split_once('/').is_some_and(|(_, domain)| domain == text))
            .or_else(|| nearest(text, names()))
    }
}

/// Compiles a component's policy file. What its lists name is looked for in `known`, where that is given.
pub(super) fn compile(
    file: &str,
    yaml: &str,
    known: Option<&Known>,
) -> Result<ComponentPolicy, PolicyErrors> {
    if super::is_native(file) {
        native::compile(file, yaml, known)
    } else {
        ComponentPolicy::of_telefonistka(file, yaml)
    }
}

impl List {
    fn find(&self, target: &Target, component: &PathInRepo) -> Option<&Entry> {
        let with_slash = format!("{}/", target.path);
        self.entries.iter().find(|entry| match &entry.means {
            Means::Pattern(pattern) => pattern.means(target.path.as_str(), &with_slash, component.as_str()),
            Means::Places(places) => places.mean(target, component),
        })
    }
}

impl ComponentPolicy {
    /// Compiles a component's policy file: by its name Lockflight's own, or else Telefonistka's. An empty file allows everything;
    /// empty lists of Telefonistka's say nothing.
    ///
    /// # Errors
    /// When it is not YAML, a list or pattern is wrong, or it is too large: the component then goes nowhere.
    pub fn compile(file: &str, yaml: &str) -> Result<Self, PolicyErrors> {
        compile(file, yaml, None)
    }

    fn of_telefonistka(file: &str, yaml: &str) -> Result<Self, PolicyErrors> {
        let Some(root) = parse(file, yaml)? else {
            return Ok(Self::default());
        };
        let mut findings = Findings::new(file);
        let fields = findings.fields(
            &root,
            &[
                "promotionTargetAllowList",
                "promotionTargetBlockList",
                "disableArgoCDDiff",
            ],
            "a map with `promotionTargetAllowList` or `promotionTargetBlockList`",
        );
        let mut budget = Budget::of_component();
        let allow = list(&mut findings, &mut budget, fields.get("promotionTargetAllowList"));
        let block = list(&mut findings, &mut budget, fields.get("promotionTargetBlockList"));
        let disable_diff = findings.truth(fields.get("disableArgoCDDiff"));
        Ok(Self {
            file: file.to_owned(),
            lists: TELEFONISTKA_LISTS,
            allow,
            block,
            disable_diff,
            warnings: findings.finish()?,
        })
    }

    /// Why the component may not go to `target`, with file and line; none if it may. `component` is the component's path below
    /// the target. Block beats allow.
    #[must_use]
    pub fn refusal(&self, target: &Target, component: &PathInRepo) -> Option<String> {
        let (allowed, blocked) = self.lists;
        if let Some(entry) = self.block.as_ref().and_then(|list| list.find(target, component)) {
            return Some(format!("blocked by {blocked} ({}:{})", self.file, entry.line));
        }
        let allow = self.allow.as_ref()?;
        allow
            .find(target, component)
            .is_none()
            .then(|| format!("not in {allowed} ({}:{})", self.file, allow.line))
    }

    /// Whether the differences that Argo CD expects may not be shown (`disableArgoCDDiff`).
    #[must_use]
    pub const fn disables_diff(&self) -> bool {
        self.disable_diff
    }

    /// What is odd in the file.
    #[must_use]
    pub fn warnings(&self) -> &[PolicyError] {
        &self.warnings
    }
}

fn list(findings: &mut Findings<'_>, budget: &mut Budget, node: Option<&Node>) -> Option<List> {
    let texts = findings.texts(node, "a list of regular expressions");
    if let Some((mark, _)) = texts.get(MAX_ENTRIES) {
        findings.error(
            *mark,
            format!("the list is too long; expected at most {MAX_ENTRIES} entries"),
        );
        return None;
    }
    if budget.is_spent() {
        return None;
    }
    let mut entries = Vec::new();
    for (mark, text) in texts {
        match TargetPattern::compile(text, budget) {
            Ok(pattern) => entries.push(Entry {
                line: mark.line,
                means: Means::Pattern(pattern),
            }),
            Err(error) => {
                findings.error(
                    mark,
                    format!("expected a regular expression in Go's syntax: {error}"),
                );
                if budget.is_spent() {
                    return None;
                }
            }
        }
    }
    let line = entries.first()?.line;
    Some(List { line, entries })
}

#[cfg(test)]
mod tests;
