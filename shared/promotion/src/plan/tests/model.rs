//! A repository in memory: what the planner would read from git, and what the executor would make of a step.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::change::{Change, Lineage, Repository, hex};
use crate::plan::{Entry, Facts, Plan, PlanError, Step, plan, reads};
use crate::policy::{ComponentPolicy, Policy, TELEFONISTKA_FILE};
use crate::{BranchName, CommitOid, Login, PathInRepo, PrNumber, RepoId, RepoName, TreeOid};

pub(super) fn path(path: &str) -> PathInRepo {
    PathInRepo::parse(path).unwrap()
}

pub(super) fn change(labels: &[&str]) -> Change {
    Change {
        repo: Repository {
            id: RepoId::new(7),
            name: RepoName::parse("acme/gitops").unwrap(),
            installation: None,
        },
        branch: BranchName::parse("main").unwrap(),
        default_branch: None,
        number: PrNumber::new(12),
        title: "Update nginx".to_owned(),
        author: Login::parse("octocat").unwrap(),
        head_branch: "feature/nginx".to_owned(),
        head: CommitOid::parse("1".repeat(40)).unwrap(),
        merged_as: CommitOid::parse("2".repeat(40)).unwrap(),
        committed_at: 1_700_000_000,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        lineage: Lineage::default(),
        rollback: None,
    }
}

/// Files and their contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Repo(pub(super) BTreeMap<String, String>);

impl Repo {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, content): &(&str, &str)| ((*path).to_owned(), (*content).to_owned());
        Self(files.iter().map(file).collect())
    }

    /// The files below `directory`, by their paths relative to it.
    pub(super) fn below(&self, directory: &PathInRepo) -> BTreeMap<String, String> {
        let prefix = format!("{directory}/");
        self.0
            .iter()
            .filter_map(|(path, content)| Some((path.strip_prefix(&prefix)?.to_owned(), content.clone())))
            .collect()
    }

    fn entry(&self, path: &PathInRepo) -> Entry {
        if self.0.contains_key(path.as_str()) {
            return Entry::NotADirectory;
        }
        let files = self.below(path);
        if files.is_empty() {
            return Entry::Absent;
        }
        let digest = Sha256::digest(serde_json::to_vec(&files).unwrap());
        Entry::Tree(TreeOid::parse(hex(&digest)).unwrap())
    }

    /// What a planner would read for a change that touched `changed`.
    pub(super) fn facts(&self, policy: &Policy, change: &Change, changed: &[&str]) -> Facts {
        let changed: Vec<String> = changed.iter().map(|path| (*path).to_owned()).collect();
        let reads = reads(policy, change, &changed);
        let entries = reads
            .own()
            .entries
            .iter()
            .map(|path| (path.clone(), self.entry(path)))
            .collect();
        let component_policies = reads
            .component_policies
            .iter()
            .filter_map(|component| {
                let file = format!("{component}/{TELEFONISTKA_FILE}");
                let policy = ComponentPolicy::compile(&file, self.0.get(&file)?).unwrap();
                Some((component.clone(), policy))
            })
            .collect();
        Facts::at_merge_commit(change.clone(), changed, entries, component_policies)
    }

    pub(super) fn plan(&self, policy: &Policy, labels: &[&str], changed: &[&str]) -> Plan {
        let change = change(labels);
        plan(policy, &self.facts(policy, &change, changed)).unwrap()
    }

    /// The repository after every step of the plan was merged.
    pub(super) fn after(&self, plan: &Plan) -> Self {
        let mut next = self.clone();
        for sync in plan.steps.iter().flat_map(|step| &step.sync) {
            let content = if sync.tree.is_some() {
                self.below(&sync.from)
            } else {
                BTreeMap::new()
            };
            let target = format!("{}/", sync.to);
            next.0.retain(|path, _| !path.starts_with(&target));
            next.0.extend(
                content
                    .into_iter()
                    .map(|(path, content)| (format!("{target}{path}"), content)),
            );
        }
        next
    }
}

pub(super) fn policy(yaml: &str) -> Policy {
    Policy::compile(TELEFONISTKA_FILE, yaml).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Steps as short texts: source, targets, components, syncs.
pub(super) fn syncs(step: &Step) -> Vec<String> {
    step.sync
        .iter()
        .map(|sync| match sync.tree {
            Some(_) => format!("{} -> {}", sync.from, sync.to),
            None => format!("{} -x {}", sync.from, sync.to),
        })
        .collect()
}

pub(super) fn skips(plan: &Plan) -> Vec<String> {
    plan.skipped
        .iter()
        .map(|skip| format!("{} at {}: {}", skip.component, skip.target, skip.reason))
        .collect()
}

/// The paths that differ between two repositories.
pub(super) fn differing(a: &Repo, b: &Repo) -> BTreeSet<String> {
    let paths: BTreeSet<&String> = a.0.keys().chain(b.0.keys()).collect();
    paths
        .into_iter()
        .filter(|path| a.0.get(*path) != b.0.get(*path))
        .cloned()
        .collect()
}

pub(super) fn missing(result: Result<Plan, PlanError>) -> PathInRepo {
    match result {
        Err(PlanError::MissingFact(path)) => path,
        other => panic!("{other:?}"),
    }
}
