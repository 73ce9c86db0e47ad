//! Pushes to the default branch: what the policy may have passed on to others.

use std::borrow::Cow;
use std::collections::HashSet;

use http::HeaderMap;
use lockflight_promotion::BranchName;
use lockflight_promotion::message::{Original, PushV1};
use serde::Deserialize;

use super::{Installation, Meaning, RepositoryOf, Unreadable, only, shape};

/// The longest body that is passed on, in bytes: what a message can carry, with room to spare.
const LONGEST: usize = 8 << 20;

/// What goes along with the body: what says what it is, what proves it, and what receivers look at to know that it is of GitHub
/// (<https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers>).
const HEADERS: [&str; 9] = [
    "content-type",
    "user-agent",
    "x-github-event",
    "x-github-delivery",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
    "x-github-hook-installation-target-type",
    "x-hub-signature",
    "x-hub-signature-256",
];

/// The longest value of such a header, in bytes. GitHub's have less than a hundred.
const LONGEST_HEADER: usize = 256;

/// What a push says, without the webhook itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    branch: BranchName,
    paths: Vec<String>,
}

impl Pushed {
    /// The message, with the webhook as it came.
    pub(crate) fn message(self, headers: &HeaderMap, raw: &[u8]) -> Result<PushV1, Unreadable> {
        let body = std::str::from_utf8(raw).map_err(|_odd| Unreadable::Content)?;
        let kept = HEADERS.into_iter().filter_map(|name| {
            let value = only(headers, name).filter(|value| value.len() <= LONGEST_HEADER)?;
            Some((name.to_owned(), value.to_owned()))
        });
        Ok(PushV1 {
            branch: self.branch,
            paths: self.paths,
            original: Original {
                headers: kept.collect(),
                body: body.to_owned(),
            },
        })
    }
}

/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#push>
#[derive(Deserialize)]
struct PushEvent<'j> {
    #[serde(borrow, rename = "ref")]
    reference: Cow<'j, str>,
    deleted: bool,
    #[serde(borrow)]
    commits: Vec<Commit<'j>>,
    #[serde(borrow)]
    repository: PushedTo<'j>,
    installation: Option<Installation>,
}

#[derive(Deserialize)]
struct Commit<'j> {
    #[serde(borrow, default)]
    added: Vec<Cow<'j, str>>,
    #[serde(borrow, default)]
    modified: Vec<Cow<'j, str>>,
    #[serde(borrow, default)]
    removed: Vec<Cow<'j, str>>,
}

#[derive(Deserialize)]
struct PushedTo<'j> {
    id: u64,
    #[serde(borrow)]
    full_name: Cow<'j, str>,
    #[serde(borrow)]
    default_branch: Cow<'j, str>,
}

pub(super) fn meaning(json: &[u8], raw: &[u8]) -> Result<Meaning, Unreadable> {
    let event: PushEvent<'_> = shape(json)?;
    let PushedTo {
        id,
        full_name,
        default_branch,
    } = event.repository;
    let is_default = event.reference.strip_prefix("refs/heads/") == Some(&default_branch);
    if !is_default || event.deleted {
        return Ok(Meaning::Nothing(
            "only pushes to the default branch are passed on",
        ));
    }
    if raw.len() > LONGEST {
        tracing::warn!("a push of {} bytes is too large to be passed on", raw.len());
        return Ok(Meaning::Nothing("it is too large to be passed on"));
    }
    let repo = RepositoryOf { id, full_name }.repository(event.installation)?;
    let branch = BranchName::parse(default_branch.as_ref()).map_err(|_odd| Unreadable::Content)?;
    let mut seen = HashSet::new();
    let mut paths = Vec::new();
    for commit in event.commits {
        for path in [commit.added, commit.modified, commit.removed]
            .into_iter()
            .flatten()
        {
            if seen.insert(path.clone()) {
                paths.push(path.into_owned());
            }
        }
    }
    if paths.is_empty() {
        return Ok(Meaning::Nothing("it changes no file"));
    }
    Ok(Meaning::Push {
        repo,
        push: Pushed { branch, paths },
    })
}
