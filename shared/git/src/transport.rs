//! The one place that runs `git`: all that talks to a remote.
//!
//! Guarantees: every child has the same fixed environment and no other; it reads no configuration of the system, the user or the
//! network, runs no hook, asks nobody anything, and speaks only the protocols that were allowed. The token is in the child's
//! environment alone: never in an argument, an address, a file, a log or an error, and goes to no other host than that of the address,
//! since no redirect is followed. A branch name or address cannot be taken for an option.
//! A child that takes too long, or whose caller went away, is killed together with everything that it started.
//!
//! Tested in `tests/secrets.rs`: `the_token_is_in_no_argument_and_no_error`, `a_child_that_hangs_is_killed_with_all_it_started`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lockflight_promotion::{BranchName, CommitOid, Lease, RepoId};
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::mirrors::{Credentials, MirrorsConfig, PlainHttp, Remote};
use crate::push::{PushError, RefUpdate};
use crate::push_report::Report;
use crate::transport_error::TransportError;

/// At most this many bytes of each of a child's outputs are kept; the rest is read and dropped.
const MOST_OUTPUT: usize = 1 << 20;

/// How children are started.
#[derive(Debug)]
pub(crate) struct Transport {
    git: PathBuf,
    search_path: OsString,
    timeout: Duration,
    plain_http: PlainHttp,
    allow_file: bool,
    root: PathBuf,
    /// An empty directory.
    home: PathBuf,
}

/// Where a child runs.
enum Place<'a> {
    /// In a bare repository.
    Mirror(&'a Path),
    /// In no repository.
    Nowhere,
}

/// What git may speak to one remote. A server cannot lead it from one of these to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Https,
    Http,
    File,
}

/// A remote's address that was found good.
struct Address {
    protocol: Protocol,
    /// Scheme and host, which the token is bound to; none for a path.
    base: Option<String>,
}

/// A child that ended.
struct Finished {
    status: ExitStatus,
    stdout: String,
    /// Without the secrets.
    stderr: String,
}

impl Transport {
    pub(crate) fn new(config: &MirrorsConfig, root: PathBuf, home: PathBuf) -> Self {
        Self {
            git: config.git.clone(),
            search_path: config.search_path.clone(),
            timeout: config.timeout,
            plain_http: config.plain_http,
            allow_file: config.allow_file,
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

    /// Fetches one branch into the ref `tracking`. False: git says that the remote has no such branch.
    pub(crate) async fn fetch(
        &self,
        mirror: &Path,
        remote: &Remote,
        branch: &BranchName,
        tracking: &str,
    ) -> Result<bool, TransportError> {
        let refspec = format!("+refs/heads/{branch}:{tracking}");
        let arguments = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--",
            &remote.url,
            &refspec,
        ];
        let finished = self.run(Place::Mirror(mirror), remote, &arguments).await?;
        if finished.status.success() {
            return Ok(true);
        }
        if finished
            .stderr
            .lines()
            .any(|line| line == format!("fatal: couldn't find remote ref refs/heads/{branch}"))
        {
            return Ok(false);
        }
        Err(finished.into_error())
    }

    /// Where each of `branches` is; those that do not exist are left out.
    pub(crate) async fn list(
        &self,
        remote: &Remote,
        branches: &[BranchName],
    ) -> Result<BTreeMap<String, CommitOid>, TransportError> {
        let refs: Vec<String> = branches
            .iter()
            .map(|branch| format!("refs/heads/{branch}"))
            .collect();
        let mut arguments = vec!["ls-remote", "--quiet", "--", &remote.url];
        arguments.extend(refs.iter().map(String::as_str));
        let finished = self.run(Place::Nowhere, remote, &arguments).await?;
        if !finished.status.success() {
            return Err(finished.into_error());
        }
        // The patterns also match at the end of longer names, so only what was asked for is taken.
        let mut heads = BTreeMap::new();
        for line in finished.stdout.lines() {
            let Some((id, name)) = line.split_once('\t') else {
                continue;
            };
            let Some(branch) = name.strip_prefix("refs/heads/") else {
                continue;
            };
            if branches.iter().any(|wanted| wanted.as_str() == branch) {
                let id = CommitOid::parse(id).map_err(|error| TransportError::Other {
                    status: finished.status.to_string(),
                    detail: error.to_string(),
                })?;
                heads.insert(branch.to_owned(), id);
            }
        }
        Ok(heads)
    }

    /// Pushes under the lease, which is checked right before the child starts: all of the branches, or none.
    pub(crate) async fn push(
        &self,
        mirror: &Path,
        remote: &Remote,
        lease: &Lease,
        repo: RepoId,
        updates: &[RefUpdate],
    ) -> Result<Report, PushError> {
        let text = |id: &Option<CommitOid>| id.as_ref().map_or_else(String::new, ToString::to_string);
        let mut arguments = vec![
            "push".to_owned(),
            "--porcelain".to_owned(),
            "--no-verify".to_owned(),
        ];
        if updates.len() > 1 {
            arguments.push("--atomic".to_owned());
        }
        arguments.extend(updates.iter().map(|update| {
            format!(
                "--force-with-lease=refs/heads/{}:{}",
                update.branch,
                text(&update.expected)
            )
        }));
        arguments.extend(["--".to_owned(), remote.url.clone()]);
        arguments.extend(
            updates
                .iter()
                .map(|update| format!("{}:refs/heads/{}", text(&update.new), update.branch)),
        );
        lease.check(repo, Instant::now())?;
        let finished = self.run(Place::Mirror(mirror), remote, &arguments).await?;
        let report = Report::parse(&finished.stdout, &finished.stderr);
        // A refused ref is a failure for git, but an answer for us.
        if finished.status.success() || !report.refs.is_empty() {
            Ok(report)
        } else {
            Err(finished.into_error().into())
        }
    }

    async fn run<A: AsRef<OsStr> + Sync>(
        &self,
        place: Place<'_>,
        remote: &Remote,
        arguments: &[A],
    ) -> Result<Finished, TransportError> {
        let address = self.check_address(&remote.url)?;
        let mut command = Command::new(&self.git);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", &self.search_path)
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        match place {
            Place::Mirror(dir) => command.current_dir(dir).env("GIT_DIR", "."),
            Place::Nowhere => command
                .current_dir(&self.home)
                .env("GIT_CEILING_DIRECTORIES", &self.root),
        };
        let mut configuration = configuration(address.protocol);
        if let (Some(credentials), Some(base)) = (&remote.credentials, &address.base) {
            configuration.push((
                format!("http.{base}.extraHeader"),
                format!("Authorization: Basic {}", basic(credentials)),
            ));
        }
        command.env("GIT_CONFIG_COUNT", configuration.len().to_string());
        for (index, (key, value)) in configuration.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }

        let started = Instant::now();
        let mut child = command.spawn().map_err(TransportError::Spawn)?;
        let mut group = Group::of(child.id());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let conversation = async { tokio::try_join!(read(stdout), read(stderr), child.wait()) };
        let (stdout, stderr, status) = tokio::time::timeout(self.timeout, conversation)
            .await
            .map_err(|_elapsed| TransportError::TimedOut { after: self.timeout })?
            .map_err(TransportError::Pipe)?;
        group.has_ended();
        tracing::debug!(
            subcommand = arguments.first().map(|name| name.as_ref().display().to_string()),
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
            stderr: scrub(
                &String::from_utf8_lossy(&stderr.kept),
                remote.credentials.as_ref(),
            ),
        })
    }

    /// Checks that the address is of an allowed kind and carries no credentials.
    fn check_address(&self, url: &str) -> Result<Address, TransportError> {
        let path = || Address {
            protocol: Protocol::File,
            base: None,
        };
        let refuse = |reason| Err(TransportError::Address(reason));
        if url
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        {
            return refuse("it has a space, a backslash or a control character");
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return if !url.starts_with('/') {
                refuse("it is neither an https address nor an absolute path")
            } else if self.allow_file {
                Ok(path())
            } else {
                refuse("paths on this machine are not allowed by the configuration")
            };
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return refuse("it carries a user name or a password; give the token in the configuration");
        }
        let protocol = match scheme {
            "https" => Protocol::Https,
            "http" if self.plain_http == PlainHttp::Anywhere => Protocol::Http,
            "http" if self.plain_http == PlainHttp::Loopback && is_loopback(authority) => Protocol::Http,
            "http" => return refuse("it is not encrypted; use https"),
            "file" if self.allow_file => return Ok(path()),
            "file" => return refuse("paths on this machine are not allowed by the configuration"),
            _ => return refuse("only https is supported"),
        };
        if authority.is_empty() {
            return refuse("it names no host");
        }
        Ok(Address {
            protocol,
            base: Some(format!("{scheme}://{authority}/")),
        })
    }
}

impl Finished {
    fn into_error(self) -> TransportError {
        TransportError::from_stderr(&self.stderr, self.status.to_string())
    }
}

/// The settings of every child, for a remote of this protocol.
fn configuration(protocol: Protocol) -> Vec<(String, String)> {
    let allow = |this: Protocol| if this == protocol { "always" } else { "never" };
    [
        ("protocol.allow", "never"),
        ("protocol.https.allow", allow(Protocol::Https)),
        ("protocol.http.allow", allow(Protocol::Http)),
        ("protocol.file.allow", allow(Protocol::File)),
        // git would send the token along to wherever the first answer leads.
        ("http.followRedirects", "false"),
        ("protocol.version", "2"),
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.askPass", ""),
        ("credential.helper", ""),
        ("safe.bareRepository", "explicit"),
        ("submodule.recurse", "false"),
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
        // Less than 1,000 bytes a second for a minute is no connection.
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", "60"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
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

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn basic(credentials: &Credentials) -> String {
    BASE64.encode(format!(
        "{}:{}",
        credentials.username,
        credentials.token.expose_secret()
    ))
}

/// Takes the token out of a text, in each form that it may appear in.
fn scrub(text: &str, credentials: Option<&Credentials>) -> String {
    let Some(credentials) = credentials else {
        return text.to_owned();
    };
    let token = credentials.token.expose_secret();
    let mut percent = String::new();
    for byte in token.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            percent.push(char::from(byte));
        } else {
            percent.push_str(&format!("%{byte:02X}"));
        }
    }
    [
        basic(credentials),
        BASE64.encode(token),
        percent,
        token.to_owned(),
    ]
    .iter()
    .filter(|form| !form.is_empty())
    .fold(text.to_owned(), |text, form| {
        text.replace(form.as_str(), "[secret]")
    })
}
