//! Bringing a branch to this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use git2::{ErrorCode, ObjectType, Oid};
use lockflight_promotion::{BranchName, CommitOid, ErrorClass};

use crate::blocking::blocking;
use crate::history;
use crate::mirror::{Mirror, PrepareError};
use crate::objects::{Missing, Objects};
use crate::partial::{Bringing, Way};
use crate::read::{ReadError, commit_oid, oid};
use crate::slot::Kind;
use crate::transport_error::TransportError;
use crate::wire::{Deepen, Filter, Request};

/// So much history a partial mirror begins with, along each line of parents. Commits are small, and most questions are about the last few.
const BEGINNING: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);

/// The same where the server can't leave out trees and files, and each commit may bring many.
const SHORT_BEGINNING: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// So many commits and trees are taken for what is new on a branch. More are another history than the one that is here, as after a branch was made
/// anew: it is begun, and not taken in whole.
const MOST_NEW: u32 = 10_000;

/// A commit that is here, and that the server can leave out with all that is before it.
#[derive(Clone, Copy, Debug)]
struct Base {
    commit: Oid,
    /// Whether the branch itself was there. What another branch has to do with it is not known: maybe nothing.
    is_own: bool,
}

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
    /// Another task is just writing down where the branch is.
    #[error("where branch {branch} is cannot be written down at the moment")]
    Busy {
        /// The branch.
        branch: BranchName,
        /// What libgit2 said.
        #[source]
        source: git2::Error,
    },
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
            Self::NotOnBranch { .. } | Self::Prepare(_) | Self::Busy { .. } => ErrorClass::Retry,
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
        let Some((_, mut bytes)) = self.fetch_in_turn(branch, Some(need)).await? else {
            return Err(FetchError::NoSuchBranch(branch.clone()));
        };
        if let Err(error) = self.standing(branch, need, Bringing::in_turn()).await {
            if !matches!(&error, FetchError::Read(ReadError::Damaged { .. })) {
                return Err(error);
            }
            // git found nothing missing, but part of the history is gone: only a new mirror helps.
            self.slot.report_damage(self.slot.generation());
            let Some((_, again)) = self.fetch_in_turn(branch, Some(need)).await? else {
                return Err(FetchError::NoSuchBranch(branch.clone()));
            };
            bytes += again;
            self.standing(branch, need, Bringing::in_turn()).await?;
        }
        Ok(done(Some(bytes)))
    }

    /// Brings `branch` as it is now, and says where it is; `None` when the remote said that there is no such branch.
    ///
    /// # Errors
    /// When the remote or the disk fails.
    #[tracing::instrument(skip_all, fields(repo = %self.repo(), branch = %branch))]
    pub async fn fetch_branch(&self, branch: &BranchName) -> Result<Option<CommitOid>, FetchError> {
        let way = self.way().await.map_err(|source| FetchError::Transport {
            branch: branch.clone(),
            source,
        })?;
        if way != Way::Child && !self.slot.is_damaged() {
            // The look at the remote needs no turn, and mostly it is all there is to do.
            let known = self.tracked(branch).await;
            let head = self.head(branch).await?;
            let Some(head) = head else {
                return Ok(None);
            };
            if known.as_ref() == Some(&head) {
                return Ok(Some(head));
            }
            let _turn = self.slot.turn.lock().await;
            // Whoever had the turn before may have seen a later head.
            if self.tracked(branch).await == known {
                self.advance(branch, &head, None, way).await?;
                return Ok(Some(head));
            }
        }
        let _turn = self.slot.turn.lock().await;
        let fetched = self.fetch_in_turn(branch, None).await?;
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
    ) -> Result<BTreeMap<String, CommitOid>, TransportError> {
        self.slot.usage.listings.fetch_add(1, Ordering::Relaxed);
        match self.way().await? {
            Way::Wire { .. } => self.shared.wire.list(&self.remote, branches).await,
            Way::Child => self.shared.transport.list(&self.remote, branches).await,
        }
    }

    async fn head(&self, branch: &BranchName) -> Result<Option<CommitOid>, FetchError> {
        self.remote_branch(branch)
            .await
            .map_err(|source| FetchError::Transport {
                branch: branch.clone(),
                source,
            })
    }

    /// Where the branch is now that it is here, and how many bytes that took.
    async fn fetch_in_turn(
        &self,
        branch: &BranchName,
        need: Option<&CommitOid>,
    ) -> Result<Option<(CommitOid, u64)>, FetchError> {
        let way = self.way().await.map_err(|source| FetchError::Transport {
            branch: branch.clone(),
            source,
        })?;
        if way == Way::Child {
            return self.fetch_by_child(branch).await;
        }
        let Some(head) = self.head(branch).await? else {
            return Ok(None);
        };
        let bytes = self.advance(branch, &head, need, way).await?;
        Ok(Some((head, bytes)))
    }

    /// Where a partial mirror knows the branch to be, if that commit is here. Any trouble is a no.
    async fn tracked(&self, branch: &BranchName) -> Option<CommitOid> {
        let tracking = tracking_ref(branch).ok()?;
        let (tracked, _) = self
            .look(Arc::new(move |objects: &Objects<'_>| {
                let Some(head) = tip(objects, &tracking)? else {
                    return Ok(None);
                };
                Ok::<_, ReadError>(objects.asked(&head).is_ok().then_some(head))
            }))
            .await;
        tracked.ok().flatten()
    }

    /// Brings a partial mirror to `head`. Returns how many bytes that took. Call it with the turn taken.
    async fn advance(
        &self,
        branch: &BranchName,
        head: &CommitOid,
        need: Option<&CommitOid>,
        way: Way,
    ) -> Result<u64, FetchError> {
        let Way::Wire { filter } = way else {
            return Ok(0);
        };
        let failed = |source| FetchError::Transport {
            branch: branch.clone(),
            source,
        };
        let wanted = oid(head.as_str())?;
        let mut renewed = false;
        'mirror: loop {
            let slot = Arc::clone(&self.slot);
            blocking(move || slot.prepare(Kind::Partial).map(drop))
                .await
                .map_err(FetchError::Prepare)?;
            let generation = self.slot.generation();
            let tracking = tracking_ref(branch)?;
            let (state, _) = self
                .look(Arc::new(move |objects: &Objects<'_>| {
                    Ok::<_, ReadError>((known(objects, &tracking), objects.find_commit(wanted)?.is_some()))
                }))
                .await;
            let (mut base, mut is_here) = state.unwrap_or((None, false));
            let mut bytes = 0;
            while !is_here {
                let request = beginning_or_new(wanted, base, filter);
                self.slot.usage.fetches.fetch_add(1, Ordering::Relaxed);
                match self.receive(&request).await {
                    Ok(received) => {
                        bytes += received.bytes;
                        let came = move |objects: &Objects<'_>| {
                            Ok::<_, ReadError>(objects.find_commit(wanted)?.is_some())
                        };
                        is_here = self.read_bringing(Bringing::nothing(), came).await?;
                        if is_here {
                            let known = base.map(|base| base.commit);
                            self.note_new_ends(wanted, known, received.shallow).await?;
                        } else if base.take().is_none() {
                            return Err(failed(TransportError::NoSuchObject {
                                detail: "the head of the branch was asked for by its id, and did not come"
                                    .to_owned(),
                            }));
                        }
                        // Else it is older than the base, which the server takes to be here with all that is before it.
                    }
                    Err(error @ TransportError::TooLarge { .. }) if base.is_some() => {
                        tracing::info!(%error, "the branch has little in common with what is here, and is begun anew");
                        base = None;
                    }
                    Err(error @ TransportError::MirrorDamaged { .. }) if !renewed => {
                        tracing::warn!(%error, "the fetch found the mirror damaged");
                        self.slot.report_damage(generation);
                        renewed = true;
                        continue 'mirror;
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
            self.track(branch, wanted).await?;
            if let Some(need) = need {
                let is_beginning = !base.is_some_and(|base| base.is_own);
                bytes += self.bring_need(branch, head, need, is_beginning).await?;
            }
            return Ok(bytes);
        }
    }

    /// Writes down where a branch is. The commit is here.
    async fn track(&self, branch: &BranchName, head: Oid) -> Result<(), FetchError> {
        let tracking = tracking_ref(branch)?;
        let written = self
            .read_bringing(Bringing::nothing(), move |objects| {
                match objects.repo.reference(&tracking, head, true, "fetch") {
                    Ok(_) => Ok(Ok(())),
                    // Whoever was cancelled while he did the same is still at it.
                    Err(error) if error.code() == ErrorCode::Locked => Ok(Err(error)),
                    Err(error) => Err(ReadError::damaged(|| "a ref of the mirror")(error)),
                }
            })
            .await?;
        written.map_err(|source| FetchError::Busy {
            branch: branch.clone(),
            source,
        })
    }

    /// Writes down where the history of new commits ends.
    async fn note_new_ends(&self, head: Oid, known: Option<Oid>, told: Vec<Oid>) -> Result<(), ReadError> {
        let mut ends = self
            .read_bringing(Bringing::nothing(), move |objects| {
                history::ends(objects, head, known)
            })
            .await?;
        ends.extend(told);
        if ends.is_empty() {
            return Ok(());
        }
        self.note_ends(ends).await
    }

    /// Brings the commit that is needed, if it has not come with its branch, and for a beginning the root trees that will be looked at.
    async fn bring_need(
        &self,
        branch: &BranchName,
        head: &CommitOid,
        need: &CommitOid,
        is_beginning: bool,
    ) -> Result<u64, FetchError> {
        let before = self.slot.usage.bytes_received.load(Ordering::Relaxed);
        let wanted = oid(need.as_str())?;
        let has = move |objects: &Objects<'_>| Ok::<_, ReadError>(objects.has(wanted));
        if !self.read_bringing(Bringing::nothing(), has).await? {
            let missing = Missing {
                commits: BTreeSet::from([wanted]),
                ..Missing::default()
            };
            match self.ask_for(&missing, Some(BEGINNING)).await {
                Ok(()) => {}
                Err(ReadError::Bring(error)) if matches!(*error, TransportError::NoSuchObject { .. }) => {
                    return Err(FetchError::NotOnBranch {
                        need: need.clone(),
                        branch: branch.clone(),
                        head: head.clone(),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        if is_beginning {
            let commits = [need.clone(), head.clone()];
            self.read_bringing(Bringing::in_turn(), move |objects| {
                Objects::each(&commits, |commit| {
                    let commit = objects.asked(commit)?;
                    let parent = match commit.parents.first() {
                        Some(parent) => objects.find_commit(*parent)?,
                        None => None,
                    };
                    Objects::each([Some(commit), parent].into_iter().flatten(), |commit| {
                        objects.need(commit.tree)
                    })
                })
                .map(drop)
            })
            .await?;
        }
        let after = self.slot.usage.bytes_received.load(Ordering::Relaxed);
        Ok(after.saturating_sub(before))
    }

    /// Has git bring the branch into a complete mirror. Says where it is, and by how many bytes the packs grew.
    async fn fetch_by_child(&self, branch: &BranchName) -> Result<Option<(CommitOid, u64)>, FetchError> {
        let tracking = tracking_ref(branch)?;
        let failed = |source| FetchError::Transport {
            branch: branch.clone(),
            source,
        };
        let mut renewed = false;
        loop {
            let slot = Arc::clone(&self.slot);
            let before = blocking(move || {
                slot.prepare(Kind::Complete)?;
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
            let grown = after.saturating_sub(before);
            self.slot.packs_changed();
            self.slot.usage.bytes_received.fetch_add(grown, Ordering::Relaxed);
            let tracking = tracking.clone();
            let head = self.read(move |objects| tip(objects, &tracking)).await?;
            return Ok(head.map(|head| (head, grown)));
        }
    }

    /// Whether `need` is known to be here and on `branch`. Any trouble is a no: the fetch will find out.
    async fn holds(&self, branch: &BranchName, need: &CommitOid) -> bool {
        if self.slot.is_damaged() || !self.slot.dir.exists() {
            return false;
        }
        self.standing(branch, need, Bringing::nothing()).await.is_ok()
    }

    /// Proves that `need` is here and on `branch` as it was last fetched.
    async fn standing(
        &self,
        branch: &BranchName,
        need: &CommitOid,
        bringing: Bringing,
    ) -> Result<(), FetchError> {
        let tracking = tracking_ref(branch)?;
        let wanted = need.clone();
        self.read_bringing(bringing, move |objects| {
            let Some(head) = tip(objects, &tracking)? else {
                return Err(ReadError::NotFetched(wanted.clone()));
            };
            if head == wanted {
                objects.asked(&wanted)?;
                return Ok(None);
            }
            let on_branch = match objects.asked(&wanted) {
                Ok(_) => {
                    let (head, wanted) = (oid(head.as_str())?, oid(wanted.as_str())?);
                    history::is_descendant(objects, head, wanted)?
                }
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

/// A commit that is here, and may be close to the head of the branch that this ref tracks: where it was before, or any other branch.
fn known(objects: &Objects<'_>, tracking: &str) -> Option<Base> {
    let is_here = |id: &Oid| objects.find_commit(*id).is_ok_and(|commit| commit.is_some());
    let before = objects.repo.refname_to_id(tracking).ok().filter(is_here);
    if let Some(commit) = before {
        return Some(Base { commit, is_own: true });
    }
    let all = objects.repo.references_glob("refs/lockflight/*").ok()?;
    all.filter_map(Result::ok)
        .filter_map(|reference| reference.target())
        .find(is_here)
        .map(|commit| Base {
            commit,
            is_own: false,
        })
}

/// What to ask for to bring a partial mirror to `head`: what is new since the branch was looked at last, or a beginning of commits alone.
fn beginning_or_new(head: Oid, base: Option<Base>, filter: bool) -> Request {
    let request = Request {
        wants: vec![head],
        haves: base.iter().map(|base| base.commit).collect(),
        ..Request::default()
    };
    match base {
        // The trees that changed come along, since somebody will look at most of them.
        Some(Base { is_own: true, .. }) => Request {
            filter: filter.then_some(Filter::BlobNone),
            // Without a filter, what is new is mostly less than a beginning.
            most_objects: filter.then_some(MOST_NEW),
            ..request
        },
        // So much and no more, should the two have nothing in common.
        Some(_) | None if filter => Request {
            deepen: Some(Deepen::To(BEGINNING)),
            filter: Some(Filter::TreeDepth(0)),
            ..request
        },
        Some(_) | None => Request {
            deepen: Some(Deepen::To(SHORT_BEGINNING)),
            ..request
        },
    }
}

/// The commit that a ref of the mirror is at.
fn tip(objects: &Objects<'_>, reference: &str) -> Result<Option<CommitOid>, ReadError> {
    match objects.repo.refname_to_id(reference) {
        Ok(id) => commit_oid(id).map(Some),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(ReadError::damaged(|| "a ref of the mirror")(error)),
    }
}
