//! The flags of `lockflight drift`.

use std::path::PathBuf;

use clap::Args;

use super::ListFormat;

#[derive(Debug, Args)]
pub(crate) struct DriftArgs {
    /// The repository: a work tree or a bare repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) repo: PathBuf,

    /// The commit that is looked at: policy, sources and targets are read here.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) head: String,

    /// Only components of this name, or at this source path. May be given more than once.
    #[arg(long = "component", value_name = "COMPONENT")]
    pub(crate) components: Vec<String>,

    /// Only targets at or below this path. May be given more than once.
    #[arg(long = "target", value_name = "PATH")]
    pub(crate) targets: Vec<String>,

    /// Leave out what differs within the files.
    #[arg(long)]
    pub(crate) no_diff: bool,

    /// End with exit code 3 when something differs.
    #[arg(long)]
    pub(crate) exit_code: bool,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) output: ListFormat,
}
