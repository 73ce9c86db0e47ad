//! Planning on a repository of this machine: no forge, no token, nothing written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use lockflight_git::{CommitSpec, Committed, Identity, LocalError, LocalRepository};
use lockflight_promotion::change::{Change, Lineage, Repository};
use lockflight_promotion::plan::{Content, Entry, Facts, Found, Plan, Reads, ReadsAt, Step, reads};
use lockflight_promotion::policy::{MAX_BYTES, NATIVE_FILE, Policy, PolicyErrors, TELEFONISTKA_FILE, decode};
use lockflight_promotion::{
    Base, BranchName, CommitOid, Login, PathInRepo, PrNumber, RepoId, RepoName, plan, text, values,
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
    others: &'r [Other],
    author: Login,
    /// The branch that the change is merged into, and the default branch.
    branch: BranchName,
    default_branch: BranchName,
}

/// Another repository that promotions lead to, in a clone of it on this machine.
#[derive(Debug)]
pub(crate) struct Other {
    name: RepoName,
    default_branch: Option<BranchName>,
    repo: LocalRepository,
}

impl Other {
    /// Takes a clone for the repository of that name.
    pub(crate) fn open(name: RepoName, path: &Path, source: &LocalRepository) -> Result<Self, LocalError> {
        let repo = LocalRepository::open(path)?.with_objects_of(source)?;
        Ok(Self {
            name,
            default_branch: repo.default_branch(),
            repo,
        })
    }
}

/// A commit, and the clone that it is in.
type Place<'r> = (&'r LocalRepository, CommitOid);

impl<'r> Offline<'r> {
    /// A change that is merged into the default branch.
    pub(crate) fn new(
        repo: &'r LocalRepository,
        base: CommitOid,
        head: CommitOid,
        labels: BTreeSet<String>,
    ) -> anyhow::Result<Self> {
        let default_branch = match repo.default_branch() {
            Some(branch) => branch,
            None => BranchName::parse("main")?,
        };
        Ok(Self {
            repo,
            base,
            head,
            labels,
            others: &[],
            author: Login::parse("nobody")?,
            branch: default_branch.clone(),
            default_branch,
        })
    }

    /// The same with other repositories beside it.
    pub(crate) const fn beside(mut self, others: &'r [Other]) -> Self {
        self.others = others;
        self
    }

    /// The same, merged into this branch.
    pub(crate) fn onto(mut self, branch: BranchName) -> Self {
        self.branch = branch;
        self
    }

    /// The same, by this person.
    pub(crate) fn by(mut self, author: Login) -> Self {
        self.author = author;
        self
    }

    /// The commit with the change.
    pub(crate) const fn head(&self) -> &CommitOid {
        &self.head
    }

    /// The policy at the head, or that of the default branch where the change goes to another one; none if there is no file. Lockflight's own
    /// goes before Telefonistka's.
    pub(crate) fn policy(&self) -> Result<Option<Policy>, OfflineError> {
        let at = if self.branch == self.default_branch {
            self.head.clone()
        } else {
            match self.tip(&self.default_branch)? {
                Some(commit) => commit,
                None => return Ok(None),
            }
        };
        for name in [NATIVE_FILE, TELEFONISTKA_FILE] {
            let file = PathInRepo::parse(name).context("the policy file's name")?;
            if let Some(text) = self.text(&at, &file)? {
                return Policy::compile(name, &text)
                    .map(Some)
                    .map_err(OfflineError::Policy);
            }
        }
        Ok(None)
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
        let facts = self.facts(policy, changed)?;
        Ok(plan(policy, &facts).context("the plan can't be made")?)
    }

    /// All that is true of a merge that touched these paths.
    pub(crate) fn facts(&self, policy: &Policy, changed: Vec<String>) -> Result<Facts, OfflineError> {
        let change = self.change()?;
        let Reads {
            at: wanted,
            component_policies: components,
        } = reads(policy, &change, &changed);
        let mut at = BTreeMap::new();
        for (base, wanted) in wanted {
            let found = match self.commit_of(&base)? {
                Ok(place) => Found::Content(self.content(&base, &place, wanted)?),
                Err(reason) => Found::Unreachable(reason),
            };
            at.insert(base, found);
        }
        let is_absent = |component: &PathInRepo| match at.get(&Base::default()) {
            Some(Found::Content(own)) => own.entries.get(component) == Some(&Entry::Absent),
            Some(Found::Unreachable(_)) | None => false,
        };
        let mut component_policies = BTreeMap::new();
        for component in components {
            let commit = if is_absent(&component) {
                &self.base
            } else {
                &self.head
            };
            let file = PathInRepo::parse(format!("{component}/{}", policy.component_file()))
                .context("the component's policy file")?;
            if let Some(text) = self.text(commit, &file)? {
                let own = policy
                    .component(file.as_str(), &text)
                    .map_err(OfflineError::Policy)?;
                component_policies.insert(component, own);
            }
        }
        Ok(Facts {
            change,
            changed,
            at,
            component_policies,
        })
    }

    /// Where a base is on this machine, or why it can't be looked at.
    fn commit_of(&self, base: &Base) -> anyhow::Result<Result<Place<'r>, String>> {
        let Some(name) = &base.repo else {
            let Some(branch) = &base.branch else {
                return Ok(Ok((self.repo, self.head.clone())));
            };
            return branch_tip(self.repo, branch);
        };
        match self.others.iter().find(|other| other.name == *name) {
            Some(other) => match base.branch.as_ref().or(other.default_branch.as_ref()) {
                Some(branch) => branch_tip(&other.repo, branch),
                None => Ok(Err(
                    "its default branch can't be told; check it out in the clone".to_owned()
                )),
            },
            None => Ok(Err(format!(
                "it is another repository; say where a clone of it is: --beside {name}=DIR"
            ))),
        }
    }

    /// The commit that a branch is at here, or was at `origin` when that was last fetched.
    pub(crate) fn tip(&self, branch: &BranchName) -> anyhow::Result<Option<CommitOid>> {
        tip(self.repo, branch)
    }

    fn content(&self, base: &Base, (repo, commit): &Place<'r>, wanted: ReadsAt) -> anyhow::Result<Content> {
        let paths = |paths: BTreeSet<PathInRepo>| paths.into_iter().collect::<Vec<_>>();
        let (entries, listings, files) = (paths(wanted.entries), paths(wanted.listings), paths(wanted.files));
        let unreadable = "the trees can't be read";
        let other = |(at, other): (usize, &Other)| {
            (Some(&other.name) == base.repo.as_ref()).then(|| {
                let repository = Repository {
                    // Any number will do that nobody else has here; the change's own is 0.
                    id: RepoId::new(at as u64 + 1),
                    name: other.name.clone(),
                    installation: None,
                };
                (repository, other.default_branch.clone())
            })
        };
        let (other, default_branch) = self.others.iter().enumerate().find_map(other).unzip();
        Ok(Content {
            repo: other,
            branch: base.branch.clone().or_else(|| default_branch.flatten()),
            entries: repo.entries(commit, &entries).context(unreadable)?,
            listings: repo.listings(commit, &listings).context(unreadable)?,
            files: repo
                .files(commit, &files, values::MAX_BYTES as u64)
                .context(unreadable)?,
        })
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
            .own()
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
            // Keys are no directory, and what they are taken from was read when the plan was made.
            .filter(|sync| sync.keys.is_none())
            .map(|sync| (sync.from.clone(), sync.tree.clone()))
            .collect();
        self.repo.inspect(&self.head, &travelling)?;
        let change = self.change()?;
        let (repo, parent) = self.parent_of(step)?;
        let committed = repo.preview(&CommitSpec {
            parent,
            edits: step
                .sync
                .iter()
                .map(|sync| (sync.to.clone(), sync.edit()))
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

    /// The commit that a step would start from, and the clone that it is in.
    pub(crate) fn parent_of(&self, step: &Step) -> anyhow::Result<Place<'r>> {
        let base = Base {
            repo: step.repo.as_ref().map(|repo| repo.name.clone()),
            branch: step.base.clone(),
        };
        self.commit_of(&base)?
            .map_err(|reason| anyhow::anyhow!("{base}: {reason}"))
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
            branch: self.branch.clone(),
            default_branch: Some(&self.default_branch)
                .filter(|branch| **branch != self.branch)
                .cloned(),
            number: PrNumber::new(0),
            title: String::new(),
            author: self.author.clone(),
            head_branch: "local".to_owned(),
            head: self.head.clone(),
            merged_as: self.head.clone(),
            committed_at: info.committed_at,
            labels: self.labels.clone(),
            lineage: Lineage::default(),
            rollback: None,
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

/// The commit that a branch of a clone is at, or was at `origin` when that was last fetched.
fn tip(repo: &LocalRepository, branch: &BranchName) -> anyhow::Result<Option<CommitOid>> {
    for place in ["refs/heads", "refs/remotes/origin"] {
        match repo.resolve(&format!("{place}/{branch}")) {
            Err(LocalError::NoSuchRevision { .. }) => {}
            found => return Ok(Some(found?)),
        }
    }
    Ok(None)
}

/// The tip of a branch as a place, or why there is none.
fn branch_tip<'r>(
    repo: &'r LocalRepository,
    branch: &BranchName,
) -> anyhow::Result<Result<Place<'r>, String>> {
    Ok(match tip(repo, branch)? {
        Some(commit) => Ok((repo, commit)),
        None => Err("there is no such branch in this repository".to_owned()),
    })
}

#[cfg(test)]
mod tests;
