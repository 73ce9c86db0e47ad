//! Everything the forge remembers that is not in git, behind one lock.
//!
//! The lock is held for moments only and never across an await. What needs git and memory to agree (a merge, a push
//! that has just ended) takes the repository's *lane* first, an asynchronous lock that puts such work in a row.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::AppKey;
use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::model::{
    Access, CheckRun, Label, Permissions, Protection, PullRequest, RepositorySettings, Status, Team, User,
    UserKind,
};
use crate::webhook::{Delivery, Hook};

/// This many deliveries are kept.
const KEPT_DELIVERIES: usize = 2_000;

#[derive(Debug)]
pub(crate) struct AppRecord {
    pub(crate) id: u64,
    pub(crate) slug: String,
    pub(crate) owner: String,
    pub(crate) client_id: String,
    pub(crate) permissions: Permissions,
    pub(crate) events: Vec<String>,
    pub(crate) key: AppKey,
    pub(crate) created_at: Timestamp,
}

impl AppRecord {
    pub(crate) fn bot(&self) -> String {
        format!("{}[bot]", self.slug)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) id: u64,
    pub(crate) app: u64,
    pub(crate) account: String,
    pub(crate) repositories: BTreeSet<u64>,
    pub(crate) suspended_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

/// Whom a token stands for.
#[derive(Clone)]
pub(crate) enum TokenOwner {
    User(String),
    Installation {
        installation: u64,
        expires_at: Timestamp,
        permissions: Permissions,
        /// Ids of the repositories it was narrowed to; nothing means all of the installation.
        repositories: Option<BTreeSet<u64>>,
    },
}

#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) id: u64,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) lane: Arc<tokio::sync::Mutex<()>>,
    pub(crate) default_branch: String,
    pub(crate) settings: RepositorySettings,
    /// Refs below `refs/heads/` and `refs/tags/` as they were when last looked at.
    pub(crate) refs: BTreeMap<String, String>,
    pub(crate) pulls: BTreeMap<u64, PullRequest>,
    /// By name in lower case.
    pub(crate) labels: BTreeMap<String, Label>,
    /// Oldest first.
    pub(crate) statuses: Vec<Status>,
    pub(crate) check_runs: BTreeMap<u64, CheckRun>,
    pub(crate) protection: BTreeMap<String, Protection>,
    /// By login in lower case. Everybody else may write.
    pub(crate) access: BTreeMap<String, Access>,
    pub(crate) created_at: Timestamp,
    pub(crate) pushed_at: Timestamp,
}

impl Repository {
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub(crate) fn branch(&self, name: &str) -> Option<&String> {
        self.refs.get(&format!("refs/heads/{name}"))
    }

    pub(crate) fn access_of(&self, login: &str) -> Access {
        self.access
            .get(&login.to_lowercase())
            .copied()
            .unwrap_or(Access::Write)
    }

    pub(crate) fn pull(&self, number: u64) -> Result<&PullRequest, ForgeError> {
        self.pulls.get(&number).ok_or_else(ForgeError::not_found)
    }

    pub(crate) fn pull_mut(&mut self, number: u64) -> Result<&mut PullRequest, ForgeError> {
        self.pulls.get_mut(&number).ok_or_else(ForgeError::not_found)
    }

    /// Returns the latest status of each context of a commit, newest first.
    pub(crate) fn latest_statuses(&self, sha: &str) -> Vec<&Status> {
        let mut seen = BTreeSet::new();
        self.statuses
            .iter()
            .rev()
            .filter(|status| status.sha == sha && seen.insert(status.context.as_str()))
            .collect()
    }

    pub(crate) fn open_pulls(&self) -> impl Iterator<Item = &PullRequest> {
        self.pulls
            .values()
            .filter(|pull| pull.state == crate::model::PullRequestState::Open)
    }
}

/// What asynchronous work needs to know of a repository while it does not hold the lock.
#[derive(Debug, Clone)]
pub(crate) struct RepoRef {
    pub(crate) id: u64,
    /// The key in [`State::repositories`].
    pub(crate) key: String,
    pub(crate) owner: String,
    pub(crate) full_name: String,
    pub(crate) default_branch: String,
    pub(crate) dir: PathBuf,
    pub(crate) lane: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
pub(crate) struct State {
    next_id: u64,
    /// By login in lower case.
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) tokens: HashMap<String, TokenOwner>,
    pub(crate) apps: BTreeMap<u64, AppRecord>,
    pub(crate) installations: BTreeMap<u64, Installation>,
    /// By `owner/name` in lower case.
    pub(crate) repositories: BTreeMap<String, Repository>,
    /// By organization and slug, both in lower case.
    pub(crate) teams: BTreeMap<(String, String), Team>,
    pub(crate) hooks: BTreeMap<u64, Hook>,
    /// Oldest first.
    pub(crate) deliveries: VecDeque<Delivery>,
}

impl State {
    /// Returns a number that nothing on this forge has yet.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        1_000 + self.next_id
    }

    pub(crate) fn repository(&self, name: &str) -> Result<&Repository, ForgeError> {
        self.repositories
            .get(&name.to_lowercase())
            .ok_or_else(ForgeError::not_found)
    }

    pub(crate) fn repository_mut(&mut self, name: &str) -> Result<&mut Repository, ForgeError> {
        self.repositories
            .get_mut(&name.to_lowercase())
            .ok_or_else(ForgeError::not_found)
    }

    pub(crate) fn repo_ref(&self, name: &str) -> Result<RepoRef, ForgeError> {
        let repository = self.repository(name)?;
        Ok(RepoRef {
            id: repository.id,
            key: name.to_lowercase(),
            owner: repository.owner.clone(),
            full_name: repository.full_name(),
            default_branch: repository.default_branch.clone(),
            dir: repository.dir.clone(),
            lane: Arc::clone(&repository.lane),
        })
    }

    /// Returns the account, which is made where it is missing.
    pub(crate) fn user_or_new(&mut self, login: &str, kind: UserKind) -> User {
        let key = login.to_lowercase();
        if let Some(user) = self.users.get(&key) {
            return user.clone();
        }
        let user = User {
            id: self.fresh_id(),
            login: login.to_owned(),
            kind,
        };
        self.users.insert(key, user.clone());
        user
    }

    /// Returns the account, or one called `ghost` as on GitHub where it is unknown.
    pub(crate) fn user(&self, login: &str) -> User {
        self.users
            .get(&login.to_lowercase())
            .cloned()
            .unwrap_or_else(|| User {
                id: 10_137,
                login: "ghost".into(),
                kind: UserKind::User,
            })
    }

    /// Finds the repository and pull request that have a comment.
    pub(crate) fn find_comment(&self, id: u64) -> Option<(&str, u64)> {
        self.repositories.iter().find_map(|(key, repository)| {
            repository
                .pulls
                .values()
                .find(|pull| pull.comments.iter().any(|comment| comment.id == id))
                .map(|pull| (key.as_str(), pull.number))
        })
    }

    pub(crate) fn keep_delivery(&mut self, delivery: Delivery) {
        if self.deliveries.len() == KEPT_DELIVERIES {
            self.deliveries.pop_front();
        }
        self.deliveries.push_back(delivery);
    }
}
