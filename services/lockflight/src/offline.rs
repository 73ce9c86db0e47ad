//! Planning on a repository of this machine: no forge, no token, nothing written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use lockflight_git::{CommitSpec, Committed, Identity, LocalRepository};
use lockflight_promotion::change::{Change, Lineage, Repository};
use lockflight_promotion::plan::{Entry, Facts, Plan, Step, reads};
use lockflight_promotion::policy::{
    ComponentPolicy, MAX_BYTES, Policy, PolicyErrors, TELEFONISTKA_FILE, decode,
};
use lockflight_promotion::{
    BranchName, CommitOid, Login, PathInRepo, PrNumber, RepoId, RepoName, plan, text,
};

/// A policy that can't be used, or anything else that went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfflineError {
    #[error("the policy can't be used")]
    Policy(PolicyErrors),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A repository at two commits: before a change, and with it.
#[derive(Debug)]
pub(crate) struct Offline<'r> {
    repo: &'r LocalRepository,
    base: CommitOid,
    head: CommitOid,
    labels: BTreeSet<String>,
}

impl<'r> Offline<'r> {
    pub(crate) const fn new(
        repo: &'r LocalRepository,
        base: CommitOid,
        head: CommitOid,
        labels: BTreeSet<String>,
    ) -> Self {
        Self {
            repo,
            base,
            head,
            labels,
        }
    }

    /// The policy at the head; none if there is no file.
    pub(crate) fn policy(&self) -> Result<Option<Policy>, OfflineError> {
        let file = PathInRepo::parse(TELEFONISTKA_FILE).context("the policy file's name")?;
        self.text(&self.head, &file)?
            .map(|text| Policy::compile(TELEFONISTKA_FILE, &text).map_err(OfflineError::Policy))
            .transpose()
    }

    /// What a merge of the difference between base and head would lead to.
    pub(crate) fn plan(&self, policy: &Policy) -> Result<Plan, OfflineError> {
        let changed = self
            .repo
            .changed(&self.base, &self.head)
            .context("the change can't be read")?;
        self.plan_paths(policy, changed)
    }

    /// What a merge that touched these paths would lead to.
    pub(crate) fn plan_paths(&self, policy: &Policy, changed: Vec<String>) -> Result<Plan, OfflineError> {
        let change = self.change()?;
        let wanted = reads(policy, &change, &changed);
        let paths: Vec<PathInRepo> = wanted.entries.into_iter().collect();
        let entries = self
            .repo
            .entries(&self.head, &paths)
            .context("the trees can't be read")?;
        let mut component_policies = BTreeMap::new();
        for component in wanted.component_policies {
            let removed = entries.get(&component) == Some(&Entry::Absent);
            let at = if removed { &self.base } else { &self.head };
            let file = PathInRepo::parse(format!("{component}/{TELEFONISTKA_FILE}"))
                .context("the component's policy file")?;
            if let Some(text) = self.text(at, &file)? {
                let policy = ComponentPolicy::compile(file.as_str(), &text).map_err(OfflineError::Policy)?;
                component_policies.insert(component, policy);
            }
        }
        let facts = Facts {
            change,
            changed,
            entries,
            component_policies,
        };
        Ok(plan(policy, &facts).context("the plan can't be made")?)
    }

    /// The component that a file would belong to, at its source; none if it belongs to none.
    pub(crate) fn component_of(&self, policy: &Policy, file: &str) -> anyhow::Result<Option<PathInRepo>> {
        let reads = reads(policy, &self.change()?, &[file.to_owned()]);
        Ok(reads.component_policies.into_iter().next())
    }

    /// Where a change of a file would go next.
    pub(crate) fn targets_of(&self, policy: &Policy, file: &str) -> anyhow::Result<Vec<PathInRepo>> {
        let reads = reads(policy, &self.change()?, &[file.to_owned()]);
        Ok(reads
            .entries
            .into_iter()
            .filter(|path| !reads.component_policies.contains(path))
            .collect())
    }

    /// Whether a component of the head may be promoted: it has neither submodules nor symlinks that lead out of it.
    pub(crate) fn may_travel(&self, component: &PathInRepo) -> bool {
        let Ok(entries) = self.repo.entries(&self.head, std::slice::from_ref(component)) else {
            return false;
        };
        let Some(Entry::Tree(tree)) = entries.get(component) else {
            return false;
        };
        self.repo
            .inspect(&self.head, &[(component.clone(), Some(tree.clone()))])
            .is_ok()
    }

    /// The commit that a step would make, after the same look at what travels as an executor takes.
    pub(crate) fn preview(&self, step: &Step) -> anyhow::Result<Committed> {
        let travelling: Vec<_> = step
            .sync
            .iter()
            .map(|sync| (sync.from.clone(), sync.tree.clone()))
            .collect();
        self.repo.inspect(&self.head, &travelling)?;
        let change = self.change()?;
        let committed = self.repo.preview(&CommitSpec {
            parent: self.head.clone(),
            edits: step
                .sync
                .iter()
                .map(|sync| (sync.to.clone(), sync.tree.clone()))
                .collect(),
            message: text::commit::message(&change, step),
            author: Identity {
                name: "Lockflight".to_owned(),
                email: "lockflight@localhost".to_owned(),
            },
            when: change.committed_at,
        })?;
        Ok(committed)
    }

    /// The change as it would be, were the head its merge commit. There is no pull request, so it has the number 0.
    fn change(&self) -> anyhow::Result<Change> {
        let info = self
            .repo
            .commit_info(&self.head)
            .context("the head can't be read")?;
        Ok(Change {
            repo: Repository {
                id: RepoId::new(0),
                name: RepoName::parse("local/repository")?,
                installation: None,
            },
            branch: BranchName::parse("main")?,
            number: PrNumber::new(0),
            title: String::new(),
            author: Login::parse("nobody")?,
            head_branch: "local".to_owned(),
            head: self.head.clone(),
            merged_as: self.head.clone(),
            committed_at: info.committed_at,
            labels: self.labels.clone(),
            lineage: Lineage::default(),
        })
    }

    fn text(&self, at: &CommitOid, path: &PathInRepo) -> Result<Option<String>, OfflineError> {
        match self.repo.blob(at, path, MAX_BYTES) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => decode(path.as_str(), bytes)
                .map(Some)
                .map_err(OfflineError::Policy),
            Err(error) if error.is_about_the_file() => Err(OfflineError::Policy(PolicyErrors::whole(
                path.as_str(),
                error.to_string(),
            ))),
            Err(error) => Err(anyhow::Error::new(error)
                .context(format!("{path} can't be read"))
                .into()),
        }
    }
}
