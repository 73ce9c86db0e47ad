//! A merged change, pinned at its merge commit, and where it came from.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::rollback::WayBack;
use crate::{
    BranchName, CommitOid, InstallationId, Login, PathInRepo, PrNumber, PromotionId, RepoId, RepoName,
    TraceParent,
};

/// A repository as a message names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// GitHub's numeric id.
    pub id: RepoId,
    /// The name at the time of the message.
    pub name: RepoName,
    /// The App installation that told of it; none with a personal token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<InstallationId>,
}

/// A pull request that was merged into the default branch, pinned at its merge commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where it happened.
    pub repo: Repository,
    /// The branch it was merged into.
    pub branch: BranchName,
    /// The repository's default branch, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<BranchName>,
    /// The pull request's number.
    pub number: PrNumber,
    /// Its title, as people wrote it.
    pub title: String,
    /// Who opened it.
    pub author: Login,
    /// The branch it came from; free text, since a fork's branch need not be one of ours.
    pub head_branch: String,
    /// The last commit of that branch: commit statuses go here.
    pub head: CommitOid,
    /// The commit on `branch` that carries the change: every read is pinned to it.
    pub merged_as: CommitOid,
    /// That commit's committer date, in seconds since 1970 UTC: the date of every commit that promotes it.
    pub committed_at: i64,
    /// The labels of the pull request when it was read.
    pub labels: BTreeSet<String>,
    /// The way the change has come so far.
    pub lineage: Lineage,
    /// What this takes back, where it is the way back of a change: `merged_as` is then the commit before it, and `committed_at` the time at which
    /// it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Box<WayBack>>,
}

impl Change {
    /// How a pull request is called on the pages of the change: `#7`, or `acme/production#7` where it is in another repository. GitHub makes
    /// links of both.
    #[must_use]
    pub fn name_of(&self, repo: &RepoName, number: PrNumber) -> String {
        if *repo == self.repo.name {
            format!("#{number}")
        } else {
            format!("{repo}#{number}")
        }
    }

    /// The repository's default branch.
    #[must_use]
    pub fn default_branch(&self) -> &BranchName {
        self.default_branch.as_ref().unwrap_or(&self.branch)
    }

    /// The identity of the promotion that this change belongs to, the same at every hop.
    #[must_use]
    pub fn promotion(&self) -> PromotionId {
        let origin = self.lineage.origin.as_ref();
        let number = origin.map_or(self.number, |origin| origin.number);
        let repo = origin
            .and_then(|origin| origin.repo.as_ref())
            .unwrap_or(&self.repo);
        let digest = Sha256::digest(format!("lockflight:promotion:{}:{number}", repo.id));
        PromotionId::from_digest(digest.into())
    }

    /// Who opened the pull request that began the promotion.
    #[must_use]
    pub fn original_author(&self) -> &Login {
        self.lineage
            .origin
            .as_ref()
            .map_or(&self.author, |origin| &origin.author)
    }
}

/// The way a change has come: where it began, and the promotion pull requests it has been through since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The pull request that people opened; none if the change itself is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The hops so far, oldest first, the change itself not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
}

/// The pull request that a promotion began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its number.
    pub number: PrNumber,
    /// Who opened it.
    pub author: Login,
    /// The repository that it is in, if that is another one than that of the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<Repository>,
}

/// One pull request on the way, and what it led from and to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The merged pull request whose merge caused this hop.
    pub number: PrNumber,
    /// The pattern of the source location.
    pub source: String,
    /// The paths of the targets.
    pub targets: Vec<PathInRepo>,
    /// The repository of that pull request, if it is another one than the targets'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<Repository>,
    /// Whether it took the change back, and did not carry it on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
}

impl PromotionId {
    /// The id made of a SHA-256 digest.
    #[must_use]
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self::from_valid(hex(&digest))
    }

    /// The trace context of the promotion as a whole, as a function of its id alone, so that every worker that
    /// handles any hop of it names the same trace. `span` tells the hops apart.
    #[must_use]
    pub fn traceparent(&self, span: &str) -> TraceParent {
        let trace = Sha256::digest(format!("lockflight:trace:{self}"));
        let span = Sha256::digest(format!("lockflight:span:{self}:{span}"));
        let (trace, span) = (hex(&trace), hex(&span));
        let (trace, span) = (
            trace.get(..32).unwrap_or_default(),
            span.get(..16).unwrap_or_default(),
        );
        TraceParent::from_valid(format!("00-{trace}-{span}-01"))
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            write!(text, "{byte:02x}").unwrap_or_default();
            text
        })
}
