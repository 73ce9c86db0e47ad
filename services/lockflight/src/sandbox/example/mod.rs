//! Repositories to begin with: each shows one way to model environments (`docs/environments.md`).

mod branch;
mod directory;
mod repository;
mod single;
mod telefonistka;

use clap::ValueEnum;

/// Which repository the sandbox makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Example {
    /// Directories, by the policy file of Telefonistka: each merged promotion is a change of its own.
    Telefonistka,
    /// Environments and failure domains are directories of one branch, promoted in waves.
    Directory,
    /// Each environment is a branch.
    Branch,
    /// Production is a repository of its own.
    Repository,
    /// One directory for each component, with a file for each environment; single keys are promoted.
    Single,
}

/// Files with their content.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// What there is before the first change, and the first change.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The title of the first change.
    pub(crate) title: &'static str,
    /// The repositories. The first one has the policy and gets the change.
    pub(crate) repositories: Vec<Repository>,
    /// What the first change writes.
    pub(crate) change: Files,
}

/// A repository of a scene.
#[derive(Debug)]
pub(crate) struct Repository {
    /// `owner/name`.
    pub(crate) name: &'static str,
    /// What stands in each branch; the first one is the default branch.
    pub(crate) branches: Vec<(&'static str, Files)>,
}

impl Repository {
    fn new(name: &'static str, files: Files) -> Self {
        Self {
            name,
            branches: vec![("main", files)],
        }
    }
}

impl Example {
    /// What it begins with.
    pub(crate) fn scene(self) -> Scene {
        match self {
            Self::Telefonistka => telefonistka::scene(),
            Self::Directory => directory::scene(),
            Self::Branch => branch::scene(),
            Self::Repository => repository::scene(),
            Self::Single => single::scene(),
        }
    }
}

/// Where people write, where directories are promoted. Everything else is filled by promotion.
const WORKSPACE: &str = "workspace";

const COMPONENTS: [&str; 3] = ["checkout", "payments", "search"];

const README: &str = "# The infrastructure of Acme\n\nChange what is in `workspace/`. When your pull request is merged, Lockflight carries it through\n\
     the lab, staging and production, one pull request after another.\n";

fn file(path: impl Into<String>, content: &str) -> (String, Vec<u8>) {
    (path.into(), content.as_bytes().to_vec())
}

/// The files of a component as they are before the first change.
fn component(place: &str, name: &str) -> Files {
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  selector:\n    matchLabels:\n      app: {name}\n"
    );
    vec![
        file(format!("{place}/{name}/deployment.yaml"), &deployment),
        file(format!("{place}/{name}/values.yaml"), &values("1.8.1", 2)),
    ]
}

/// All components below a directory, as they are before the first change.
fn components(place: &str) -> Files {
    COMPONENTS
        .iter()
        .flat_map(|name| component(place, name))
        .collect()
}

/// A new version of one component, with a file of its own.
fn first_change() -> Files {
    const BUDGET: &str = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: checkout\nspec:\n  minAvailable: 1\n";
    vec![
        file(format!("{WORKSPACE}/checkout/values.yaml"), &values("1.8.2", 3)),
        file(format!("{WORKSPACE}/checkout/budget.yaml"), BUDGET),
    ]
}

fn values(version: &str, replicas: u32) -> String {
    format!("image:\n  tag: {version}\nreplicas: {replicas}\n")
}
