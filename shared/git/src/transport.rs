//! Everything that is left to the `git` program: talking to remotes that do not speak git's own protocol over HTTP.
//!
//! Guarantees: git speaks only the protocol of the address, and that has to be an allowed one. The token is in no argument, no
//! environment, no address, no file, no log and no error; a child has it by a descriptor (`child.rs`). It goes to no other host than that of
//! the address, since no redirect is followed. A branch name or address cannot be taken for an option.
//!
//! Tested in `tests/secrets.rs`: `the_token_is_in_no_argument_and_no_error`, `an_address_is_never_an_option`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lockflight_promotion::{BranchName, CommitOid, Lease, RepoId};
use secrecy::{ExposeSecret as _, SecretString};

use crate::child::{Children, Finished, Job, Place, SecretSetting};
use crate::mirrors::{Credentials, MirrorsConfig, PlainHttp, Remote};
use crate::push::{PushError, RefUpdate};
use crate::push_report::Report;
use crate::transport_error::TransportError;

/// How the remotes of one configuration are talked to.
#[derive(Debug)]
pub(crate) struct Transport {
    children: Children,
    plain_http: PlainHttp,
    allow_file: bool,
}

/// What git may speak to one remote. A server cannot lead it from one of these to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Https,
    Http,
    File,
}

/// A remote's address that was found good.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) protocol: Protocol,
    /// Scheme and host, which the token is bound to; none for a path.
    pub(crate) base: Option<String>,
}

impl Transport {
    pub(crate) fn new(config: &MirrorsConfig, root: PathBuf, home: PathBuf) -> Self {
        Self {
            children: Children::new(config, root, home),
            plain_http: config.plain_http,
            allow_file: config.allow_file,
        }
    }

    pub(crate) const fn children(&self) -> &Children {
        &self.children
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
        let address = check_address(&remote.url, self.plain_http, self.allow_file)?;
        let allow = |protocol| {
            if address.protocol == protocol {
                "always"
            } else {
                "never"
            }
        };
        let settings = [
            ("protocol.https.allow", allow(Protocol::Https)),
            ("protocol.http.allow", allow(Protocol::Http)),
            ("protocol.file.allow", allow(Protocol::File)),
        ];
        let secret = match (&remote.credentials, &address.base) {
            (Some(credentials), Some(base)) => Some(SecretSetting {
                section: ("http", base.clone()),
                name: "extraHeader",
                value: SecretString::from(format!("Authorization: Basic {}", basic(credentials))),
            }),
            _ => None,
        };
        let mut finished = self
            .children
            .run(Job {
                place,
                arguments,
                settings: &settings,
                secret,
                input: Vec::new(),
            })
            .await?;
        finished.stderr = scrub(&finished.stderr, remote.credentials.as_ref());
        Ok(finished)
    }
}

/// Checks that the address is of an allowed kind and carries no credentials.
pub(crate) fn check_address(
    url: &str,
    plain_http: PlainHttp,
    allow_file: bool,
) -> Result<Address, TransportError> {
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
        } else if allow_file {
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
        "http" if plain_http == PlainHttp::Anywhere => Protocol::Http,
        "http" if plain_http == PlainHttp::Loopback && is_loopback(authority) => Protocol::Http,
        "http" => return refuse("it is not encrypted; use https"),
        "file" if allow_file => return Ok(path()),
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

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(crate) fn basic(credentials: &Credentials) -> String {
    BASE64.encode(format!(
        "{}:{}",
        credentials.username,
        credentials.token.expose_secret()
    ))
}

/// Takes the token out of a text, in each form that it may appear in.
pub(crate) fn scrub(text: &str, credentials: Option<&Credentials>) -> String {
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
