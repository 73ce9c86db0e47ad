//! The one place that starts `git`.
//!
//! Guarantees: every child has the same fixed environment and no other; it reads no configuration of the system, the user or the
//! directory that it runs in beyond the mirror's own, runs no hook and asks nobody anything. A secret setting reaches a child, and
//! whatever that one starts, as a file in memory whose descriptor it inherits: no other child has that descriptor, even one that is
//! being started at the same moment, because it loses its close-on-exec mark between fork and exec of the one child alone.
//! A child that takes too long, or whose caller went away, is killed together with everything that it started.
//!
//! Tested in `tests/secrets.rs`: `the_token_is_in_no_argument_and_no_error`, `a_token_is_seen_by_its_own_child_alone`,
//! `a_child_that_hangs_is_killed_with_all_it_started`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};

use crate::mirrors::MirrorsConfig;
use crate::transport_error::TransportError;

/// At most this many bytes of each of a child's outputs are kept; the rest is read and dropped.
const MOST_OUTPUT: usize = 1 << 20;

/// The descriptor by which a child has its secret setting.
const SECRET: i32 = 3;

/// How children are started.
#[derive(Debug)]
pub(crate) struct Children {
    git: PathBuf,
    search_path: OsString,
    timeout: Duration,
    root: PathBuf,
    /// An empty directory.
    home: PathBuf,
}

/// Where a child runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// In a bare repository.
    Mirror(&'a Path),
    /// In no repository.
    Nowhere,
}

/// A setting that nobody but the child may see.
#[derive(Debug)]
pub(crate) struct SecretSetting {
    /// The section and subsection, such as `http` and `https://github.com/`.
    pub(crate) section: (&'static str, String),
    pub(crate) name: &'static str,
    pub(crate) value: SecretString,
}

/// What a child is to do.
pub(crate) struct Job<'a, A> {
    pub(crate) place: Place<'a>,
    pub(crate) arguments: &'a [A],
    /// Settings beside those that every child has.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    pub(crate) secret: Option<SecretSetting>,
    /// What the child reads.
    pub(crate) input: Vec<u8>,
}

/// A child that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The settings of every child. All remotes' protocols are off; a transport allows the one of its address.
const SETTINGS: [(&str, &str); 33] = [
    ("protocol.allow", "never"),
    // git would send the token along to wherever the first answer leads.
    ("http.followRedirects", "false"),
    ("http.sslVerify", "true"),
    ("http.proxy", ""),
    ("http.emptyAuth", "false"),
    // Neither may a server name other places to load from.
    ("transfer.bundleURI", "false"),
    ("fetch.uriProtocols", ""),
    ("transfer.credentialsInUrl", "die"),
    ("protocol.version", "2"),
    ("core.hooksPath", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.symlinks", "false"),
    ("credential.helper", ""),
    ("safe.bareRepository", "explicit"),
    ("submodule.recurse", "false"),
    ("push.recurseSubmodules", "no"),
    ("push.gpgSign", "false"),
    ("push.followTags", "false"),
    ("transfer.fsckObjects", "true"),
    // Flaws of old tools that many histories have for good, and that harm nobody.
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    // What is not reachable from a ref may be a commit about to be pushed.
    ("gc.auto", "0"),
    ("gc.autoDetach", "false"),
    ("maintenance.auto", "false"),
    // Where a mirror is packed, others work.
    ("pack.threads", "1"),
    // Less than 1,000 bytes a second for a minute is no connection.
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
];

impl Children {
    pub(crate) fn new(config: &MirrorsConfig, root: PathBuf, home: PathBuf) -> Self {
        Self {
            git: config.git.clone(),
            search_path: config.search_path.clone(),
            timeout: config.timeout,
            root,
            home,
        }
    }

    pub(crate) fn program(&self) -> String {
        self.git.display().to_string()
    }

    /// The one line of `git --version`. Blocks.
    pub(crate) fn version(&self) -> io::Result<String> {
        let output = std::process::Command::new(&self.git)
            .arg("--version")
            .env_clear()
            .env("PATH", &self.search_path)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs git to its end. What it says is as it said it: whoever gave it a secret takes that out of it.
    pub(crate) async fn run<A: AsRef<OsStr> + Sync>(
        &self,
        job: Job<'_, A>,
    ) -> Result<Finished, TransportError> {
        let mut command = self.command(&job).map_err(TransportError::Spawn)?;
        let started = Instant::now();
        let mut child = command.spawn().map_err(TransportError::Spawn)?;
        // The parent's descriptor of the secret ends with it.
        drop(command);
        let mut group = Group::of(child.id());
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let conversation =
            async { tokio::try_join!(write(stdin, &job.input), read(stdout), read(stderr), child.wait()) };
        let ((), stdout, stderr, status) = tokio::time::timeout(self.timeout, conversation)
            .await
            .map_err(|_elapsed| TransportError::TimedOut { after: self.timeout })?
            .map_err(TransportError::Pipe)?;
        group.has_ended();
        tracing::debug!(
            subcommand = job.arguments.first().map(|name| name.as_ref().display().to_string()),
            git_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            %status,
            "git ended"
        );
        if stdout.cut {
            // What is missing must not be taken for an answer: a branch that was not listed would be one that is gone.
            return Err(TransportError::TooMuchOutput { most: MOST_OUTPUT });
        }
        Ok(Finished {
            status,
            stdout: String::from_utf8_lossy(&stdout.kept).into_owned(),
            stderr: String::from_utf8_lossy(&stderr.kept).into_owned(),
        })
    }

    fn command<A: AsRef<OsStr>>(&self, job: &Job<'_, A>) -> io::Result<Command> {
        let mut command = Command::new(&self.git);
        command
            .args(job.arguments)
            .env_clear()
            .env("PATH", &self.search_path)
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            // An object that is missing is for the mirror to ask for, with the token and all at once.
            .env("GIT_NO_LAZY_FETCH", "1")
            .stdin(if job.input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        match job.place {
            Place::Mirror(dir) => command.current_dir(dir).env("GIT_DIR", "."),
            Place::Nowhere => command
                .current_dir(&self.home)
                .env("GIT_CEILING_DIRECTORIES", &self.root),
        };
        let settings = || SETTINGS.iter().chain(job.settings);
        command.env("GIT_CONFIG_COUNT", settings().count().to_string());
        for (index, (key, value)) in settings().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        if let Some(secret) = &job.secret {
            // Opened by that name, a file in memory is read from its beginning, however often and by whichever process.
            command.env("GIT_CONFIG_GLOBAL", format!("/proc/self/fd/{SECRET}"));
            let mapping = FdMapping {
                parent_fd: secret.file()?,
                child_fd: SECRET,
            };
            command
                .as_std_mut()
                .fd_mappings(vec![mapping])
                .map_err(io::Error::other)?;
        }
        Ok(command)
    }
}

impl SecretSetting {
    /// A file of git-config(1) that exists in memory only, and that nobody can change any more.
    fn file(&self) -> io::Result<OwnedFd> {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let (section, subsection) = &self.section;
        let value = self.value.expose_secret();
        if [subsection.as_str(), value]
            .iter()
            .any(|text| text.contains(['\n', '\0']))
        {
            return Err(io::Error::other("a setting of git cannot have a line end"));
        }
        let content = SecretString::from(format!(
            "[{section} \"{}\"]\n\t{} = \"{}\"\n",
            quoted(subsection),
            self.name,
            quoted(value)
        ));
        let mut file = File::from(memfd_create(
            c"lockflight-git-config",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?);
        file.write_all(content.expose_secret().as_bytes())?;
        fcntl_add_seals(
            &file,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )?;
        Ok(file.into())
    }
}

impl Finished {
    pub(crate) fn into_error(self) -> TransportError {
        TransportError::from_stderr(&self.stderr, self.status.to_string())
    }
}

/// The process group of a child. Unless it has ended, dropping this kills all that is in it: git leaves the network to a
/// child of its own, which would live on.
struct Group(Option<Pid>);

impl Group {
    fn of(id: Option<u32>) -> Self {
        Self(id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    const fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take()
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "a git child had ended before it was killed");
        }
    }
}

/// What was read of an output.
#[derive(Default)]
struct Output {
    kept: Vec<u8>,
    /// Whether there was more.
    cut: bool,
}

async fn write(stream: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut stream) = stream else {
        return Ok(());
    };
    match stream.write_all(input).await {
        // The child ended without having read it all; why, it says itself.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Output> {
    let mut output = Output::default();
    if let Some(mut stream) = stream {
        (&mut stream)
            .take(MOST_OUTPUT as u64)
            .read_to_end(&mut output.kept)
            .await?;
        // Whoever writes more must not block on a full pipe.
        output.cut = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await? > 0;
    }
    Ok(output)
}
