//! The flags of `lockflight bump`. They are those of Telefonistka's `bump-*` commands, so that a pipeline changes one word.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lockflight_promotion::{PathInRepo, RepoName};

use super::ListFormat;

#[derive(Debug, Args)]
pub(crate) struct BumpArgs {
    #[command(subcommand)]
    pub(crate) mode: BumpMode,
}

/// How the file is changed.
#[derive(Debug, Subcommand)]
pub(crate) enum BumpMode {
    /// Replaces the file by another one. It may be new.
    Overwrite(OverwriteArgs),
    /// Replaces what a regular expression (Go's syntax) matches in the file.
    Regex(RegexArgs),
    /// Sets the value of one key in a YAML, JSON or TOML file. All other bytes stay.
    #[command(visible_aliases = ["json", "toml"])]
    Yaml(YamlArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OverwriteArgs {
    #[command(flatten)]
    pub(crate) common: BumpCommon,

    /// The file on this machine whose content the target file shall have.
    #[arg(short = 'c', long, value_name = "PATH")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RegexArgs {
    #[command(flatten)]
    pub(crate) common: BumpCommon,

    /// What to replace, such as `tag:\s*(\S*)`. Each match is replaced.
    #[arg(
        short = 'r',
        long = "regex-string",
        value_name = "REGEX",
        allow_hyphen_values = true
    )]
    pub(crate) regex: String,

    /// What to put there, such as `tag: v2.7.1`. `$1` and `${name}` are what a group matched, `$$` is a dollar sign.
    #[arg(
        short = 'n',
        long = "replacement-string",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    pub(crate) replacement: String,
}

#[derive(Debug, Args)]
pub(crate) struct YamlArgs {
    #[command(flatten)]
    pub(crate) common: BumpCommon,

    /// The key, as `image.tag` or `containers[name=app].image`, or as yq has it: `.db[] | select(.name == "postgres").image.tag`.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) address: String,

    /// The value, a text such as `v2.7.1`.
    #[arg(
        short = 'n',
        long = "replacement-string",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    pub(crate) replacement: String,
}

/// What all modes have in common. The token comes from `GITHUB_OAUTH_TOKEN`, or from the configuration, and from nowhere else.
#[derive(Debug, Args)]
pub(crate) struct BumpCommon {
    /// The repository in which the pull request is opened, as `owner/name`.
    #[arg(short = 't', long, value_name = "OWNER/NAME", env = "TARGET_REPO", value_parser = repository)]
    pub(crate) target_repo: RepoName,

    /// The file there, from the root of the repository.
    #[arg(short = 'f', long, value_name = "PATH", env = "TARGET_FILE", value_parser = path)]
    pub(crate) target_file: PathInRepo,

    /// The host of a GitHub Enterprise Server. By default `GITHUB_HOST`, or github.com.
    #[arg(short = 'g', long, value_name = "HOST")]
    pub(crate) github_host: Option<String>,

    /// The repository that the new version was built from. A second bump from the same one updates the pull request of the first.
    #[arg(short = 'p', long, value_name = "OWNER/NAME", env = "GITHUB_REPOSITORY")]
    pub(crate) triggering_repo: String,

    /// The commit of it.
    #[arg(short = 's', long, value_name = "SHA", env = "GITHUB_SHA")]
    pub(crate) triggering_repo_sha: Option<String>,

    /// Who set it off; the pull request is assigned to them.
    #[arg(short = 'a', long, value_name = "LOGIN", env = "GITHUB_ACTOR")]
    pub(crate) triggering_actor: Option<String>,

    /// Merge the pull request as soon as GitHub allows: now, or when its checks and reviews are there.
    #[arg(long)]
    pub(crate) auto_merge: bool,

    /// The configuration of the roles, whose identity is used where the environment has no token.
    #[arg(long, value_name = "FILE", env = "LOCKFLIGHT_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// How to print what was done.
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) output: ListFormat,
}

fn repository(text: &str) -> Result<RepoName, String> {
    RepoName::parse(text).map_err(|error| error.to_string())
}

fn path(text: &str) -> Result<PathInRepo, String> {
    let path = PathInRepo::parse(text).map_err(|error| error.to_string())?;
    if path.is_root() {
        return Err("expected the path of a file, from the root of the repository".to_owned());
    }
    Ok(path)
}
