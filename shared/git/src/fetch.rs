//! Bringing a branch to this machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use git2::{ErrorCode, ObjectType, Oid, Repository};
use lockflight_promotion::{BranchName, CommitOid, ErrorClass};

use crate::blocking::blocking;
use crate::mirror::{Mirror, PrepareError};
use crate::read::{ReadError, commit_oid, find_commit, oid};
use crate::transport_error::TransportError;

/// A commit that is on this machine, with all it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// How long it took, waiting for other fetches of the repository included.
    pub millis: u64,
    /// By how many bytes the packs of the mirror grew: about what came over the network.
    pub bytes: u64,
    /// Whether it was here already, so that the remote was not talked to.
    pub skipped: bool,
}

/// A branch or commit that could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The remote said that it has no such branch.
    #[error("the repository has no branch {0}")]
    NoSuchBranch(BranchName),
    /// The branch does not contain the commit, or not yet.
    #[error("commit {need} is not on branch {branch}, which is at {head}")]
    NotOnBranch {
        /// The commit.
        need: CommitOid,
        /// The branch.
        branch: BranchName,
        /// Where the branch is.
        head: CommitOid,
    },
    /// The remote could not be talked to.
    #[error("fetching branch {branch} failed")]
    Transport {
        /// The branch.
        branch: BranchName,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// The mirror's directory could not be made ready.
    #[error("the mirror could not be made ready")]
    Prepare(#[source] PrepareError),
    /// What was fetched cannot be read.
    #[error("what was fetched cannot be read")]
    Read(#[from] ReadError),
}

impl FetchError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            // A replica of the server may lag behind the webhook.
            Self::NotOnBranch { .. } | Self::Prepare(_) => ErrorClass::Retry,
            Self::NoSuchBranch(_) => ErrorClass::User,
            Self::Transport { source, .. } => source.class(),
            Self::Read(error) => error.class(),
        }
    }
}

/// Where the mirror keeps a branch: a flat name, so that `a` and `a/b` of different times never stand in each other's way, on any
/// file system.
pub(crate) fn tracking_ref(branch: &BranchName) -> Result<String, ReadError> {
    let id = Oid::hash_object(ObjectType::Blob, branch.as_str().as_bytes())
        .map_err(ReadError::damaged(|| "the hash of a branch name"))?;
    Ok(format!("refs/lockflight/{id}"))
}

impl Mirror {
    /// Makes sure that `need` is on this machine and on `branch`. The remote is asked only when that is not known already.
    ///
    /// # Errors
    /// When the branch does not exist or does not contain `need`, or the remote or the disk fails.
    #[tracing::instrument(skip_all, fields(repo = %self.repo(), branch = %branch, commit.oid = %need))]
    pub async fn fetch(&self, branch: &BranchName, need: &CommitOid) -> Result<Fetched, FetchError> {
        let started = Instant::now();
        let done = |bytes: Option<u64>| Fetched {
            millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes: bytes.unwrap_or(0),
            skipped: bytes.is_none(),
        };
        oid(need.as_str())?;
        if self.holds(branch, need).await {
            return Ok(done(None));
        }
        let _turn = self.slot.turn.lock().await;
        // Another task may have brought it while this one waited.
        if self.holds(branch, need).await {
            return Ok(done(None));
        }
        let Some((_, mut bytes)) = self.fetch_in_turn(branch).await? else {
            return Err(FetchError::NoSuchBranch(branch.clone()));
        };
        if let Err(error) = self.standing(branch, need).await {
            if !matches!(&error, FetchError::Read(ReadError::Damaged { .. })) {
                return Err(error);
            }
            // git found nothing missing, but part of the history is gone: only a new mirror helps.
            self.slot.report_damage(self.slot.generation());
            let Some((_, again)) = self.fetch_in_turn(branch).await? else {
                return Err(FetchError::NoSuchBranch(branch.clone()));
            };
            bytes += again;
            self.standing(branch, need).await?;
        }
        Ok(done(Some(bytes)))
    }

    /// Brings `branch` as it is now, and says where it is; `None` when the remote said that there is no such branch.
    ///
    /// # Errors
    /// When the remote or the disk fails.
    #[tracing::instrument(skip_all, fields(repo = %self.repo(), branch = %branch))]
    pub async fn fetch_branch(&self, branch: &BranchName) -> Result<Option<CommitOid>, FetchError> {
        let _turn = self.slot.turn.lock().await;
        let fetched = self.fetch_in_turn(branch).await?;
        Ok(fetched.map(|(head, _)| head))
    }

    /// Where `branch` is at the remote now; `None` when the remote said that there is no such branch. Nothing is fetched.
    ///
    /// # Errors
    /// When the remote fails.
    #[tracing::instrument(skip_all, fields(repo = %self.repo(), branch = %branch))]
    pub async fn remote_branch(&self, branch: &BranchName) -> Result<Option<CommitOid>, TransportError> {
        let mut heads = self.remote_branches(std::slice::from_ref(branch)).await?;
        Ok(heads.remove(branch.as_str()))
    }

    /// Where each of `branches` is at the remote, by name; those that do not exist are left out.
    pub(crate) async fn remote_branches(
        &self,
        branches: &[BranchName],
    ) -> Result<std::collections::BTreeMap<String, CommitOid>, TransportError> {
        self.slot.usage.listings.fetch_add(1, Ordering::Relaxed);
        self.shared.transport.list(&self.remote, branches).await
    }

    /// Where the branch is now that it is here, and by how many bytes the packs grew.
    async fn fetch_in_turn(&self, branch: &BranchName) -> Result<Option<(CommitOid, u64)>, FetchError> {
        let tracking = tracking_ref(branch)?;
        let failed = |source| FetchError::Transport {
            branch: branch.clone(),
            source,
        };
        let mut renewed = false;
        loop {
            let slot = Arc::clone(&self.slot);
            let before = blocking(move || {
                slot.prepare()?;
                slot.packed_bytes().map_err(PrepareError::Io)
            })
            .await
            .map_err(FetchError::Prepare)?;
            let generation = self.slot.generation();
            self.slot.usage.fetches.fetch_add(1, Ordering::Relaxed);
            let fetched = self
                .shared
                .transport
                .fetch(&self.slot.dir, &self.remote, branch, &tracking)
                .await;
            match fetched {
                Ok(true) => {}
                Ok(false) => {
                    // git's failure says that there is no such branch. That it is absent is for the list to prove.
                    let listed = self
                        .remote_branches(std::slice::from_ref(branch))
                        .await
                        .map_err(failed)?;
                    return if listed.is_empty() {
                        Ok(None)
                    } else {
                        Err(failed(TransportError::Network {
                            detail: "the branch appeared while it was being fetched".to_owned(),
                        }))
                    };
                }
                Err(error @ TransportError::MirrorDamaged { .. }) if !renewed => {
                    tracing::warn!(%error, "the fetch found the mirror damaged");
                    self.slot.report_damage(generation);
                    renewed = true;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
            let slot = Arc::clone(&self.slot);
            let after = blocking(move || slot.packed_bytes())
                .await
                .map_err(|error| FetchError::Prepare(PrepareError::Io(error)))?;
            let tracking = tracking.clone();
            let head = self.read(move |repo| tip(repo, &tracking)).await?;
            return Ok(head.map(|head| (head, after.saturating_sub(before))));
        }
    }

    /// Whether `need` is known to be here and on `branch`. Any trouble is a no: the fetch will find out.
    async fn holds(&self, branch: &BranchName, need: &CommitOid) -> bool {
        if self.slot.is_damaged() || !self.slot.dir.exists() {
            return false;
        }
        self.standing(branch, need).await.is_ok()
    }

    /// Proves that `need` is here and on `branch` as it was last fetched.
    async fn standing(&self, branch: &BranchName, need: &CommitOid) -> Result<(), FetchError> {
        let tracking = tracking_ref(branch)?;
        let (wanted, on) = (need.clone(), branch.clone());
        self.read(move |repo| {
            let Some(head) = tip(repo, &tracking)? else {
                return Err(ReadError::NotFetched(wanted));
            };
            if head == wanted {
                find_commit(repo, &wanted)?;
                return Ok(None);
            }
            let on_branch = match find_commit(repo, &wanted) {
                Ok(_) => repo
                    .graph_descendant_of(oid(head.as_str())?, oid(wanted.as_str())?)
                    .map_err(ReadError::damaged(|| format!("the history of {on}")))?,
                Err(ReadError::NotFetched(_)) => false,
                Err(error) => return Err(error),
            };
            Ok((!on_branch).then_some(head))
        })
        .await?
        .map_or(Ok(()), |head| {
            Err(FetchError::NotOnBranch {
                need: need.clone(),
                branch: branch.clone(),
                head,
            })
        })
    }
}

/// The commit that a ref of the mirror is at.
fn tip(repo: &Repository, reference: &str) -> Result<Option<CommitOid>, ReadError> {
    match repo.refname_to_id(reference) {
        Ok(id) => commit_oid(id).map(Some),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(ReadError::damaged(|| "a ref of the mirror")(error)),
    }
}
