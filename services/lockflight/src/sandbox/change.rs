//! The repository that the sandbox works on, and the first change in it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use lockflight_git::LocalRepository;
use lockflight_promotion::plan::Step;
use lockflight_promotion::policy::{Policy, TELEFONISTKA_FILE};
use lockflight_promotion::{CommitOid, PathInRepo, RepoName};
use lockflight_sandbox::{Forge, MergeMethod};

use crate::offline::{Offline, OfflineError, Other};
use crate::sandbox::example::{Example, Scene};

/// Directories of a repository that are looked at to find a component for the first change.
const MOST_DIRECTORIES: usize = 5_000;

/// The first change of a sandbox.
#[derive(Debug)]
pub(crate) struct FirstChange {
    /// The repository on the forge, `owner/name`.
    pub(crate) repository: String,
    /// Other repositories that promotions lead to.
    pub(crate) others: Vec<String>,
    /// Its default branch.
    pub(crate) branch: String,
    /// The commit that the branch stood at before.
    pub(crate) base: CommitOid,
    /// The title of the pull request.
    pub(crate) title: String,
    files: Vec<(String, Vec<u8>)>,
}

/// Makes the repositories of an example, or a bare clone of the one given, and chooses a change.
pub(crate) async fn prepare(
    forge: &Forge,
    example: Example,
    repo: Option<&Path>,
) -> anyhow::Result<FirstChange> {
    let Some(path) = repo else {
        return make(forge, example.scene()).await;
    };
    let name = name_for(path);
    forge
        .import_repository(&name, path)
        .await
        .with_context(|| format!("{} can't be cloned; is it a git repository?", path.display()))?;
    let (branch, base) = tip(forge, &name)?;
    let file = choose(forge, &name, &base).await?;
    Ok(FirstChange {
        repository: name,
        others: Vec::new(),
        branch,
        base,
        title: format!("Try a promotion of {file}"),
        files: vec![(
            file,
            b"Lockflight's sandbox added this file to see it travel.\n".to_vec(),
        )],
    })
}

/// Makes what an example begins with.
async fn make(forge: &Forge, scene: Scene) -> anyhow::Result<FirstChange> {
    for repository in &scene.repositories {
        for (place, (branch, files)) in repository.branches.iter().enumerate() {
            if place == 0 {
                forge.create_repository(repository.name, branch).await?;
            }
            commit(
                forge,
                repository.name,
                branch,
                files,
                "The state of our infrastructure",
            )
            .await?;
        }
    }
    let mut names = scene
        .repositories
        .iter()
        .map(|repository| repository.name.to_owned());
    let repository = names.next().context("an example has a repository")?;
    let (branch, base) = tip(forge, &repository)?;
    Ok(FirstChange {
        others: names.collect(),
        repository,
        branch,
        base,
        title: scene.title.to_owned(),
        files: scene.change,
    })
}

impl FirstChange {
    /// All repositories that promotions may lead to, its own first.
    pub(crate) fn repositories(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.repository)
            .chain(&self.others)
            .map(String::as_str)
    }

    /// Opens the pull request; gives its number.
    pub(crate) async fn open(&self, forge: &Forge) -> anyhow::Result<u64> {
        const HEAD: &str = "first-change";
        commit(forge, &self.repository, HEAD, &self.files, &self.title).await?;
        Ok(forge
            .open_pull_request(&self.repository, HEAD, &self.branch, &self.title, "you")
            .await?)
    }

    /// Opens the pull request and merges it; gives its number.
    pub(crate) async fn merge(&self, forge: &Forge) -> anyhow::Result<u64> {
        let number = self.open(forge).await?;
        forge
            .merge_pull_request(&self.repository, number, MergeMethod::Merge, "you")
            .await?;
        Ok(number)
    }

    /// What is still to be promoted of all that has happened since the beginning: nothing, when every target equals its source.
    pub(crate) fn remaining(&self, forge: &Forge) -> anyhow::Result<Vec<String>> {
        let repo = LocalRepository::open(forge.repository_dir(&self.repository)?)?;
        let head = repo.resolve(&self.branch)?;
        let mut others = Vec::new();
        for name in &self.others {
            let directory = forge.repository_dir(name)?;
            others.push(Other::open(RepoName::parse(name)?, &directory, &repo)?);
        }
        let offline = Offline::new(&repo, self.base.clone(), head, BTreeSet::new())?.beside(&others);
        let Some(policy) = read_policy(&offline)? else {
            return Ok(Vec::new());
        };
        let plan = offline.plan(&policy).map_err(explain)?;
        // What leads to another branch stands in the plan even where it would change nothing.
        let is_there = |step: &Step| {
            offline
                .preview(step)
                .is_ok_and(|committed| committed.paths.is_empty())
        };
        let left = plan.steps.into_iter().filter(|step| !is_there(step));
        Ok(left.map(|step| step.title).collect())
    }
}

async fn commit(
    forge: &Forge,
    name: &str,
    branch: &str,
    files: &[(String, Vec<u8>)],
    message: &str,
) -> anyhow::Result<()> {
    let files: Vec<(&str, Option<&[u8]>)> = files
        .iter()
        .map(|(path, content)| (path.as_str(), Some(content.as_slice())))
        .collect();
    forge.commit_files(name, branch, &files, message).await?;
    Ok(())
}

fn tip(forge: &Forge, name: &str) -> anyhow::Result<(String, CommitOid)> {
    let branch = forge.default_branch(name)?;
    let Some(tip) = forge.branch(name, &branch)? else {
        bail!("the repository has no commit on its default branch {branch}");
    };
    Ok((branch, CommitOid::parse(tip)?))
}

/// A name on the forge for a directory of this machine.
fn name_for(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name: String = name
        .trim_end_matches(".git")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    let name = name.trim_matches(['.', '-']);
    format!("local/{}", if name.is_empty() { "repository" } else { name })
}

fn read_policy(offline: &Offline<'_>) -> anyhow::Result<Option<Policy>> {
    offline.policy().map_err(explain)
}

fn explain(error: OfflineError) -> anyhow::Error {
    match error {
        OfflineError::Policy(errors) => anyhow::anyhow!("the policy can't be used:\n{errors}"),
        OfflineError::Other(error) => error,
    }
}

/// A new file in the component from which a change travels furthest.
async fn choose(forge: &Forge, name: &str, base: &CommitOid) -> anyhow::Result<String> {
    let files = forge.list_files(name, base.as_str(), "").await?;
    let directories: BTreeSet<&str> = files
        .keys()
        .filter_map(|file| file.rsplit_once('/'))
        .map(|(directory, _)| directory)
        .collect();
    let repo = LocalRepository::open(forge.repository_dir(name)?)?;
    let offline = Offline::new(&repo, base.clone(), base.clone(), BTreeSet::new())?;
    let Some(policy) = read_policy(&offline)? else {
        bail!(
            "the repository has no {TELEFONISTKA_FILE} on its default branch, so nothing would be promoted"
        );
    };
    let mut best: Option<(usize, PathInRepo)> = None;
    let mut seen = BTreeSet::new();
    for directory in directories.into_iter().take(MOST_DIRECTORIES) {
        let Some(component) = offline.component_of(&policy, &format!("{directory}/{FILE}"))? else {
            continue;
        };
        if !seen.insert(component.clone()) || !offline.may_travel(&component) {
            continue;
        }
        let reach = reach(&offline, &policy, &component)?;
        if best.as_ref().is_none_or(|(most, _)| reach > *most) {
            best = Some((reach, component));
        }
    }
    match best {
        Some((reach, component)) if reach > 0 => Ok(format!("{component}/{FILE}")),
        _ => bail!(
            "the repository has no component to try: it takes a directory below a sourcePath of its {TELEFONISTKA_FILE}, of a flow \
             that asks for no label, without submodules and without symlinks that lead out of it"
        ),
    }
}

/// The file that the first change adds to a repository of one's own.
const FILE: &str = "lockflight-sandbox.txt";

/// How many places a change of `component` comes to in the end.
fn reach(offline: &Offline<'_>, policy: &Policy, component: &PathInRepo) -> anyhow::Result<usize> {
    let mut reached = BTreeSet::new();
    let mut left = vec![component.clone()];
    while let Some(from) = left.pop() {
        for target in offline.targets_of(policy, &format!("{from}/{FILE}"))? {
            if reached.insert(target.clone()) {
                left.push(target);
            }
        }
    }
    Ok(reached.len())
}
