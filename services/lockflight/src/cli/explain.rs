//! The flags of `lockflight explain`.

use std::path::PathBuf;

use clap::Args;
use lockflight_promotion::{BranchName, Login};

use super::{ListFormat, branch};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The component: its name, or its path at the source.
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: String,

    /// The repository: a work tree or a bare repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) repo: PathBuf,

    /// The commit that is looked at: policy, sources and targets are read here.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) head: String,

    /// Only targets at or below this path. May be given more than once.
    #[arg(long = "target", value_name = "PATH")]
    pub(crate) targets: Vec<String>,

    /// A label that the change would have. May be given more than once.
    #[arg(long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,

    /// Who would make the change, for flows that ask for authors.
    #[arg(long, value_name = "LOGIN", value_parser = login)]
    pub(crate) author: Option<Login>,

    /// The branch that the change would be merged into. The default is the repository's default branch.
    #[arg(long, value_name = "BRANCH", value_parser = branch)]
    pub(crate) branch: Option<BranchName>,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) output: ListFormat,
}

fn login(text: &str) -> Result<Login, String> {
    Login::parse(text).map_err(|error| error.to_string())
}
