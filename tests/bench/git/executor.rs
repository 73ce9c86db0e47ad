//! The executor as it is, on git as it is. Beside git there is nothing: a lock that nobody else wants, and a forge without pull requests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockflight_executor::{Executor, ExecutorConfig};
use lockflight_fleet::worker::Handler as _;
use lockflight_fleet::{LockError, LockGuard, RepoLock};
use lockflight_git::port::{MirrorPort as _, MirrorsPort as _};
use lockflight_git::{Credentials, Identity, Mirrors, MirrorsConfig, PlainHttp, Remote};
use lockflight_promotion::message::Envelope;
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_promotion::{Fence, Lease, RepoId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::silent::Silent;
use crate::stage::{Repository, Stage, main, promotion};
use crate::stats::millis;
use crate::timed::Timed;

/// Where a worker finds its repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) repo: RepoId,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Address {
    pub(crate) fn of(stage: &Stage, repository: &Repository) -> Self {
        Self {
            repo: RepoId::new(repository.id),
            url: stage.forge.git_url(&repository.name),
            token: stage.token.clone(),
        }
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote {
            url: self.url.clone(),
            credentials: Some(Credentials::token(SecretString::from(self.token.clone()))),
        }
    }
}

/// Milliseconds of each kind of thing that was asked of git.
pub(crate) type Phases = Arc<Mutex<BTreeMap<&'static str, f64>>>;

/// An executor with mirrors of its own.
pub(crate) struct Worker {
    executor: Executor<Unlocked, Silent, Timed<Mirrors>>,
    mirrors: Timed<Mirrors>,
    address: Address,
    phases: Phases,
}

impl Worker {
    /// With mirrors in a folder, which is empty if the worker is cold.
    pub(crate) fn start(root: &Path, address: Address) -> Self {
        let config = MirrorsConfig {
            plain_http: PlainHttp::Loopback,
            ..MirrorsConfig::new(root)
        };
        let phases = Phases::default();
        let mirrors = Mirrors::new(config).expect("git is installed, and the folder can be written");
        let mirrors = Timed::new(mirrors, Arc::clone(&phases));
        let config = ExecutorConfig {
            marker_key: MarkerKey::derive(b"bench"),
            older_marker_keys: Vec::new(),
            author: Identity {
                name: "Lockflight".to_owned(),
                email: "lockflight@example.com".to_owned(),
            },
            merge_poll: Duration::from_secs(5),
            max_attempts: 10,
        };
        let executor = Executor::new(
            Silent::new(address.clone()),
            None,
            mirrors.clone(),
            Unlocked,
            config,
        );
        Self {
            executor,
            mirrors,
            address,
            phases,
        }
    }

    /// Brings the commit of a change, as a planner in the same process has done by the time that the executor gets its message.
    pub(crate) async fn bring(&self, message: &Envelope) {
        let mirror = self.mirrors.open(self.address.repo, self.address.remote());
        let need = &promotion(message).change.merged_as;
        mirror
            .fetch(&main(), need)
            .await
            .expect("the forge has what was merged");
    }

    /// Has the executor do a batch, up to its branches on the forge. Returns the milliseconds.
    pub(crate) async fn promote(&self, batch: &[Envelope]) -> f64 {
        let batch: Vec<&Envelope> = batch.iter().collect();
        let began = Instant::now();
        let prepared = self.executor.prepare(&batch).await;
        let took = millis(began.elapsed());
        for prepared in prepared {
            if let Err(failure) = prepared {
                panic!("a promotion failed: {failure:?}");
            }
        }
        took
    }

    /// Where the time went since this was last asked.
    pub(crate) fn phases(&self) -> BTreeMap<&'static str, f64> {
        std::mem::take(&mut *self.phases.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A lock that nobody else wants.
#[derive(Clone, Debug)]
pub(crate) struct Unlocked;

#[derive(Debug)]
pub(crate) struct Guard(Lease);

impl RepoLock for Unlocked {
    type Guard = Guard;

    async fn acquire(&self, repo: RepoId) -> Result<Guard, LockError> {
        let deadline = Instant::now() + Duration::from_secs(600);
        Ok(Guard(Lease::issue(repo, Fence(1), deadline)))
    }
}

impl LockGuard for Guard {
    fn lease(&self) -> &Lease {
        &self.0
    }

    async fn lost(&self) {
        std::future::pending::<()>().await;
    }

    async fn release(self) -> Result<(), LockError> {
        Ok(())
    }
}
