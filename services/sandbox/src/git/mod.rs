//! The bare repositories on disk, worked on by `git` itself.
//!
//! Every `git` of the forge runs with the same fixed environment: the forge's own configuration file, no system or
//! personal one, no hooks of anybody, no prompts. What a test sees therefore does not depend on the machine.

pub(crate) mod commits;
pub(crate) mod diff;
pub(crate) mod http_backend;
pub(crate) mod merge;
pub(crate) mod objects;
pub(crate) mod store;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The object id that git uses for "no such thing".
pub(crate) const ZERO_OID: &str = "0000000000000000000000000000000000000000";

/// Why a call of `git` gave nothing to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The program could not be started.
    #[error("could not start `git`; install git 2.39 or newer (on Debian: apt-get install git)")]
    Start(#[source] std::io::Error),
    /// The pipes to the program broke.
    #[error("lost the connection to `git {command}`")]
    Pipe {
        /// The git command.
        command: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The program ended with an error.
    #[error("`git {command}` failed: {message}")]
    Failed {
        /// The git command.
        command: String,
        /// Its exit code, where it ended by itself.
        code: Option<i32>,
        /// What it wrote to stderr.
        message: String,
    },
    /// The program wrote something unexpected.
    #[error("could not read what `git {command}` wrote")]
    Unreadable {
        /// The git command.
        command: &'static str,
    },
}

/// What a call of `git` gave.
#[derive(Debug)]
pub(crate) struct GitOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl GitOutput {
    /// Returns stdout as text without the final newline.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout)
            .trim_end_matches('\n')
            .to_owned()
    }
}

/// Runs `git` for the forge.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    home: PathBuf,
    config: PathBuf,
}

/// The forge's git configuration. `safe.directory` is needed to clone a repository that another account owns.
const CONFIG: &str = "\
[safe]\n\tdirectory = *\n\
[core]\n\thooksPath = /dev/null\n\tlogAllRefUpdates = false\n\
[gc]\n\tauto = 0\n\
[maintenance]\n\tauto = false\n\
[init]\n\tdefaultBranch = main\n\
[http]\n\treceivepack = true\n\tuploadpack = true\n\
[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n\
[receive]\n\tautogc = false\n\thideRefs = refs/pull\n\tdenyNonFastForwards = false\n\tdenyDeletes = false\n\
\tdenyDeleteCurrent = refuse\n\tadvertiseAtomic = true\n\tadvertisePushOptions = false\n\
[merge]\n\tdirectoryRenames = false\n\
[diff]\n\trenameLimit = 5000\n";

impl Git {
    /// Prepares the empty home and the configuration file under `data_dir`.
    pub(crate) fn prepare(data_dir: &Path) -> std::io::Result<Self> {
        let home = data_dir.join("home");
        std::fs::create_dir_all(&home)?;
        let config = home.join("forge.gitconfig");
        std::fs::write(&config, CONFIG)?;
        Ok(Self { home, config })
    }

    /// Returns the directory that serves as home; apart from the configuration file it is empty.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Returns a `git` command in the fixed environment, to be completed by the caller.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .env("HOME", &self.home)
            .env("GIT_CONFIG_GLOBAL", &self.config)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs `git` in a repository and gives what it wrote, whatever its exit code.
    pub(crate) async fn output(
        &self,
        dir: &Path,
        args: &[&str],
        environment: &[(&str, OsString)],
        input: Option<Vec<u8>>,
    ) -> Result<GitOutput, GitError> {
        let mut command = self.command();
        command
            .arg("--git-dir")
            .arg(dir)
            .args(args)
            .envs(environment.iter().cloned());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let name = || args.first().copied().unwrap_or_default().to_owned();
        let mut child = command.spawn().map_err(GitError::Start)?;
        let stdin = child.stdin.take();
        let write = async move {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that does not want all of its input closes the pipe; its exit code tells the rest.
                stdin.write_all(&input).await.ok();
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), write);
        let output = output.map_err(|source| GitError::Pipe {
            command: name(),
            source,
        })?;
        Ok(GitOutput {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    /// Runs `git` in a repository and gives its stdout; any exit code but 0 is an error.
    pub(crate) async fn run(&self, dir: &Path, args: &[&str]) -> Result<GitOutput, GitError> {
        self.run_with(dir, args, &[], None).await
    }

    /// Like [`Git::run`], with further environment variables and an input.
    pub(crate) async fn run_with(
        &self,
        dir: &Path,
        args: &[&str],
        environment: &[(&str, OsString)],
        input: Option<Vec<u8>>,
    ) -> Result<GitOutput, GitError> {
        let output = self.output(dir, args, environment, input).await?;
        if output.code == Some(0) {
            Ok(output)
        } else {
            Err(failed(args, &output))
        }
    }
}

/// Turns an exit code other than 0 into an error.
pub(crate) fn failed(args: &[&str], output: &GitOutput) -> GitError {
    GitError::Failed {
        command: args.first().copied().unwrap_or_default().to_owned(),
        code: output.code,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}

/// Tells whether the text is a full object id.
pub(crate) fn is_oid(text: &str) -> bool {
    text.len() == 40
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
