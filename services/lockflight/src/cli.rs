//! The command line.

pub(crate) mod bump;
pub(crate) mod drift;
pub(crate) mod explain;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lockflight_promotion::{BranchName, RepoName};

use crate::sandbox::example::Example;

/// Carries a merged change through the environments of a GitOps repository, as pull requests.
#[derive(Debug, Parser)]
#[command(
    name = "lockflight",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = "Try it without any server:  lockflight sandbox")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// What to log on stderr: a level, or a filter such as `info,lockflight_git=debug`.
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A forge and all roles in one process on this machine, to see a change travel. Needs no server and no account.
    Sandbox(SandboxArgs),
    /// Runs all roles in one process, against GitHub or an Enterprise Server. By itself, or over RabbitMQ and Redis.
    Serve(RunArgs),
    /// Runs the ingress alone: takes GitHub's webhooks and puts them onto RabbitMQ.
    Ingress(RunArgs),
    /// Runs a planner alone: makes promotion steps of merged changes.
    Planner(RunArgs),
    /// Runs an executor alone: writes git, opens and merges promotion pull requests.
    Executor(RunArgs),
    /// Declares the exchanges and queues of a fleet on RabbitMQ. Once, before its roles are started; doing it again changes nothing.
    Topology(TopologyArgs),
    /// Looks whether everything that Lockflight needs is there, and says how to mend what is not.
    Doctor(DoctorArgs),
    /// Lists what waits for a person, or puts it back on its queue.
    Parked(ParkedArgs),
    /// Asks a running Lockflight whether it is ready; the exit code tells.
    Health(HealthArgs),
    /// Tells which promotion pull requests a change would lead to. Offline; writes nothing.
    Plan(PlanArgs),
    /// Tells which targets differ from what their sources would make of them. Offline; writes nothing.
    Drift(drift::DriftArgs),
    /// Tells rule by rule why a component goes to each target, or does not. Offline; writes nothing.
    Explain(explain::ExplainArgs),
    /// Opens a pull request that brings a new version into a file of a repository, or updates it. As Telefonistka's `bump-*` commands.
    Bump(bump::BumpArgs),
    /// Checks policy files. Offline; exit code 4 when one is not valid.
    Validate(ValidateArgs),
    /// Writes a `lockflight.yaml` by looking at a repository, or from its `telefonistka.yaml`. Offline.
    Init(InitArgs),
    /// Prints the JSON Schema of `lockflight.yaml`, with which editors complete and check it.
    Schema(SchemaArgs),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// What to begin with.
    #[arg(long, value_enum, default_value_t = Example::Telefonistka)]
    pub(crate) example: Example,

    /// Work on a bare clone of this repository, which is never written to, in place of an example.
    #[arg(long, value_name = "DIR", conflicts_with = "example")]
    pub(crate) repo: Option<PathBuf>,

    /// Merge every promotion pull request as it comes, print a summary, and end when everything is quiet.
    #[arg(long)]
    pub(crate) once: bool,

    /// Run the forge alone, and print the environment that points separate roles at it.
    #[arg(long, conflicts_with = "once")]
    pub(crate) forge_only: bool,

    /// Where the forge listens; a loopback address. The default is a free port of 127.0.0.1.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,

    /// Keep repositories and state in this directory, in place of a temporary one that is removed at the end. Take a new one each
    /// time.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file (TOML). Keys can also come from the environment: `LOCKFLIGHT_GITHUB__API_URL` is `github.api_url`.
    #[arg(long, value_name = "FILE", env = "LOCKFLIGHT_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Sets one key over file and environment, such as `http.listen=127.0.0.1:8080`. May be given more than once.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,

    /// RabbitMQ, as `amqp://user@host:port/vhost`, in place of `queue.url_file`. Without a password: every user of a machine can see
    /// the flags of its processes.
    #[arg(long, value_name = "URL")]
    pub(crate) queue: Option<String>,

    /// Redis, as `redis://host:port/db`, in place of `locks.url_file`. Without a password, too.
    #[arg(long, value_name = "URL")]
    pub(crate) locks: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Checks the configuration, and ends.
    #[arg(long)]
    pub(crate) check_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TopologyArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Only looks whether all of it is there; exit code 1 when it is not.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) output: ListFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ParkedArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Puts these back on their queues, with no attempts counted. Mend their cause first.
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub(crate) release: Vec<String>,

    /// Puts all of them back.
    #[arg(long, conflicts_with = "release")]
    pub(crate) release_all: bool,

    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) output: ListFormat,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// What is asked.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/readyz")]
    pub(crate) url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people.
    Table,
    /// `lockflight/v1`, for programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The repository: a work tree or a bare repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) repo: PathBuf,

    /// The commit before the change.
    #[arg(long, value_name = "REV")]
    pub(crate) base: String,

    /// The commit with the change: policy and trees are read here.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) head: String,

    /// A label of the pull request. May be given more than once.
    #[arg(long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,

    /// The branch that the change is merged into. The default is the repository's default branch.
    #[arg(long, value_name = "BRANCH", value_parser = branch)]
    pub(crate) branch: Option<BranchName>,

    /// Where a clone of another repository is that the policy leads to, such as `acme/production=../production`. May be given more than
    /// once. Whether it accepts promotions is not looked at.
    #[arg(long, value_name = "OWNER/NAME=DIR", value_parser = beside)]
    pub(crate) beside: Vec<(RepoName, PathBuf)>,

    /// How to print the plan.
    #[arg(short, long, value_enum, default_value_t = PlanFormat::Table)]
    pub(crate) output: PlanFormat,
}

/// `OWNER/NAME=DIR`.
fn beside(text: &str) -> Result<(RepoName, PathBuf), String> {
    let (name, path) = text
        .split_once('=')
        .filter(|(_, path)| !path.is_empty())
        .ok_or("expected OWNER/NAME=DIR, such as acme/production=../production")?;
    let name = RepoName::parse(name).map_err(|error| error.to_string())?;
    Ok((name, PathBuf::from(path)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// For people.
    Table,
    /// `lockflight/v1`, for programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// A policy file, or a directory whose policy files are all checked.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,

    /// How to print what is wrong.
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Human)]
    pub(crate) output: ReportFormat,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The repository: a work tree.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,

    /// Rewrite this policy of Telefonistka's, and those of components below it.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,

    /// Overwrite what is there.
    #[arg(long)]
    pub(crate) force: bool,

    /// Print the policy in place of writing it.
    #[arg(long)]
    pub(crate) stdout: bool,

    /// Where editors find the schema: an address, or a path relative to the file.
    #[arg(long, value_name = "WHERE", default_value = "lockflight.schema.json")]
    pub(crate) schema: String,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// The schema of a component's file, in place of the repository's.
    #[arg(long)]
    pub(crate) component: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// `file:line:column: message`.
    Human,
    /// `lockflight/v1`, for programs.
    Json,
    /// Workflow commands, which GitHub shows as annotations.
    Github,
}

/// A branch's name.
fn branch(text: &str) -> Result<BranchName, String> {
    BranchName::parse(text).map_err(|error| error.to_string())
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected KEY=VALUE, such as http.listen=127.0.0.1:8080".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
