//! Prepares a batch: the git work of all its steps, under one lock, with one fetch and one push.
//!
//! What can be settled by a look at the forge is, before anything waits for the lock. The others then share
//! - one fetch of each branch that changes were merged into, and a second one where a merge commit has not come with the first;
//! - one push of all branches, each with its own compare-and-swap. A branch that can't be moved costs its own step alone.
//!
//! When the lock is lost, all of it is given up at that very moment: the steps come again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use lockflight_fleet::worker::Failure;
use lockflight_fleet::{LockGuard, RepoLock, failpoint};
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_git::port::{MirrorPort, MirrorsPort};
use lockflight_git::{Ahead, Committed, FetchError, PushOutcome, ReadError, RefUpdate};
use lockflight_promotion::change::Change;
use lockflight_promotion::message::{Body, Envelope, Outcome, PromoteV1};
use lockflight_promotion::{BranchName, CommitOid, ErrorClass, RepoId};

use crate::Executor;
use crate::assess::{self, Assessment, HISTORY_LIMIT, assess};
use crate::attempt::Attempt;
use crate::places::Places;
use crate::promote::{Branch, Found, Look, Promotion};
use crate::restraint::{Decided, Restraint};
use crate::supersede::{Rival, needless};

/// What is known of a message before its turn comes.
#[derive(Debug)]
pub struct Prepared<R>(pub(crate) Stage<R>);

#[derive(Debug)]
pub(crate) enum Stage<R> {
    /// A step, with all git work done.
    Promote(Box<Promotion<R>>),
    /// A report: where the branch of its change is, if the batch had to fetch that.
    Report(Option<CommitOid>),
    /// All of it is done when its turn comes.
    Merge,
}

/// A step that needs a branch.
struct Lane<'a, R> {
    /// Its place in the batch.
    place: usize,
    promote: &'a PromoteV1,
    /// The way to the repository of its pull request.
    client: R,
    attempt: Attempt,
    /// The pull requests of older changes that may be taken over.
    older: Vec<Rival>,
}

/// Where the branches of the repository are.
type Heads = BTreeMap<BranchName, Result<Option<CommitOid>, Failure>>;

/// The mirrors of other repositories that changes were merged in, and where the branches of those are.
type Sources<M> = BTreeMap<(RepoId, BranchName), Result<(M, Option<CommitOid>), Failure>>;

/// What the git work of a batch came to: for each of its lanes, in their order.
struct Written {
    branches: Vec<Result<Branch, Failure>>,
    heads: Heads,
}

/// What a look at the forge comes to.
enum Seek {
    /// All that there is to know of the step.
    Found(Found),
    /// It needs a branch, its own or that of one of these.
    Branch(Vec<Rival>),
}

/// What a step needs of git.
enum Made {
    /// Nothing more.
    Known(Branch),
    /// A push of this commit.
    Commit(Committed),
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    pub(crate) async fn prepare_batch(
        &self,
        batch: &[&Envelope],
    ) -> Vec<Result<Prepared<F::Repository>, Failure>> {
        let mut prepared = Vec::with_capacity(batch.len());
        let mut lanes: Vec<Lane<'_, F::Repository>> = Vec::new();
        let mut decided = Decided::default();
        for (place, envelope) in batch.iter().enumerate() {
            prepared.push(match &envelope.body {
                Body::Promote(promote) => {
                    let twin = lanes
                        .iter()
                        .any(|lane| lane.promote.step.branch == promote.step.branch);
                    match self.look(promote, twin, &mut decided).await {
                        Ok((client, attempt, Seek::Found(found))) => Ok(promotion(client, attempt, found)),
                        Ok((client, attempt, Seek::Branch(older))) => {
                            lanes.push(Lane {
                                place,
                                promote,
                                client,
                                attempt,
                                older,
                            });
                            // Stands here until the git work is done.
                            Err(Failure::new(ErrorClass::Bug, "a step was left out of its batch"))
                        }
                        Err(failure) => Err(failure),
                    }
                }
                Body::Merge(_) | Body::Command(_) => Ok(Prepared(Stage::Merge)),
                Body::Report(_) => Ok(Prepared(Stage::Report(None))),
                Body::Delivery(_) | Body::Push(_) | Body::Forward(_) | Body::Outcome(_) => Err(Failure::new(
                    ErrorClass::Reject,
                    "an executor was handed a message that is neither a step nor a report",
                )),
            });
        }
        if lanes.is_empty() {
            return prepared;
        }
        let Written { branches, heads } = match self.write(&mut lanes).await {
            Ok(written) => written,
            Err(failure) => Written {
                branches: lanes.iter().map(|_| Err(same(&failure))).collect(),
                heads: Heads::new(),
            },
        };
        for (lane, branch) in lanes.into_iter().zip(branches) {
            if let Some(place) = prepared.get_mut(lane.place) {
                *place = branch.map(|branch| promotion(lane.client, lane.attempt, Found::Branch(branch)));
            }
        }
        for (envelope, prepared) in batch.iter().zip(&mut prepared) {
            if let (Body::Report(report), Ok(prepared)) = (&envelope.body, prepared)
                && let Some(Ok(head)) = heads.get(&report.change.branch)
            {
                *prepared = Prepared(Stage::Report(head.clone()));
            }
        }
        prepared
    }

    /// What the forge has of a step; none if it needs a branch. A twin is a step whose branch another message of the batch makes.
    async fn look(
        &self,
        promote: &PromoteV1,
        twin: bool,
        decided: &mut Decided,
    ) -> Result<(F::Repository, Attempt, Seek), Failure> {
        let mut attempt = Attempt::start(&self.clock);
        let client = self.forge.repository(promote.step.repo(&promote.change)).await?;
        let found = match self.look_for_pull_request(&client, promote).await? {
            Look::Found(found) => Seek::Found(found),
            Look::Nothing => match self.restraint(&promote.change, &promote.step, decided).await? {
                None if twin => Seek::Found(Found::Twin),
                None => {
                    let order = Box::pin(self.others(&client, &promote.change, &promote.step)).await?;
                    match order.overtaken_by() {
                        Some(by) => Seek::Found(Found::Over(needless(promote, None, by))),
                        None => Seek::Branch(order.into_older(&promote.step)),
                    }
                }
                Some(Restraint::Held { why, wait }) if !promote.attended => {
                    return Err(Restraint::failure(why, wait));
                }
                // Whoever attends the change sends the step again when its time has come.
                Some(Restraint::Held { .. } | Restraint::Skipped) => {
                    let step = promote.step.id.clone();
                    Seek::Found(Found::Over(Outcome::NoChange { step }))
                }
            },
        };
        attempt.end("look");
        Ok((client, attempt, found))
    }

    /// Does the git work of the lanes under the lock, for as long as it is held.
    async fn write(&self, lanes: &mut [Lane<'_, F::Repository>]) -> Result<Written, Failure> {
        // The last one was planned last, and so knows a name that the repository has been given in the meantime.
        let Some(newest) = lanes.last() else {
            return Ok(Written {
                branches: Vec::new(),
                heads: Heads::new(),
            });
        };
        let mirror = self.mirror(&newest.client).await?;
        let guard = self.lock.acquire(newest.client.id()).await?;
        for lane in &mut *lanes {
            lane.attempt.end("lock");
        }
        let written = tokio::select! {
            biased;
            () = guard.lost() => Err(Failure::new(
                ErrorClass::Retry,
                "the lock of the repository was lost; what was not pushed by then is not",
            )),
            written = self.write_locked(&mirror, &guard, lanes) => Ok(written),
        };
        crate::release(guard).await;
        written
    }

    async fn write_locked(
        &self,
        mirror: &G::Mirror,
        guard: &L::Guard,
        lanes: &mut [Lane<'_, F::Repository>],
    ) -> Written {
        let heads = refresh(mirror, lanes).await;
        bring_ahead(mirror, lanes, &heads).await;
        let sources = self.sources(lanes).await;
        for lane in &mut *lanes {
            lane.attempt.end("refresh");
        }
        let mut branches = Vec::with_capacity(lanes.len());
        let mut commits = Vec::new();
        let mut updates: Vec<RefUpdate> = Vec::new();
        for (place, lane) in lanes.iter_mut().enumerate() {
            let made = self.make(mirror, lane.promote, &heads, &sources).await;
            lane.attempt.end("commit");
            branches.push(match made {
                Ok(Made::Known(branch)) => Ok(branch),
                Ok(Made::Commit(committed)) => {
                    failpoint::reached("executor.committed");
                    // One that an earlier attempt pushed to is taken over already.
                    let taken = lane
                        .older
                        .iter()
                        .find(|rival| {
                            let is_ours = rival.is_untouched() || rival.pull_request.head == committed.oid;
                            // Another step of the batch may have it already.
                            is_ours && !updates.iter().any(|update| update.branch == rival.branch)
                        })
                        .cloned();
                    updates.push(RefUpdate {
                        branch: match &taken {
                            Some(rival) => rival.branch.clone(),
                            None => lane.promote.step.branch.clone(),
                        },
                        expected: taken.as_ref().map(|rival| rival.standing.made.clone()),
                        new: Some(committed.oid.clone()),
                    });
                    commits.push((place, committed, taken));
                    // Stands here until it is pushed.
                    Err(Failure::new(
                        ErrorClass::Bug,
                        "the push told nothing of its branch",
                    ))
                }
                Err(failure) => Err(failure),
            });
        }
        if updates.is_empty() {
            return Written { branches, heads };
        }
        failpoint::reached("executor.pushing");
        let mut outcomes = push(mirror, guard, &updates).await;
        // Where rules let no branch be moved, the older pull request is closed in place of that.
        for ((update, outcome), (place, _, taken)) in updates.iter_mut().zip(&mut outcomes).zip(&mut commits)
        {
            if let (Ok(PushOutcome::Refused { .. }), Some(_), Some(lane)) =
                (&outcome, &taken, lanes.get(*place))
            {
                *taken = None;
                update.branch = lane.promote.step.branch.clone();
                update.expected = None;
                let again = push(mirror, guard, std::slice::from_ref(update)).await;
                if let Some(again) = again.into_iter().next() {
                    *outcome = again;
                }
            }
        }
        for ((place, committed, taken), outcome) in commits.into_iter().zip(outcomes) {
            if let (Some(branch), Some(lane)) = (branches.get_mut(place), lanes.get_mut(place)) {
                *branch = outcome.and_then(|outcome| match taken {
                    Some(rival) => taken_over(rival, outcome, committed),
                    None => Ok(judged(&lane.promote.step.branch, outcome, committed)),
                });
                lane.attempt.end("push");
            }
        }
        Written { branches, heads }
    }

    /// The mirrors of other repositories that steps of the batch come from, with their branches fetched.
    async fn sources(&self, lanes: &[Lane<'_, F::Repository>]) -> Sources<G::Mirror> {
        let mut sources = Sources::new();
        for lane in lanes {
            let change = &lane.promote.change;
            if lane.promote.step.repo.is_none() {
                continue;
            }
            let key = (change.repo.id, change.branch.clone());
            if let Entry::Vacant(slot) = sources.entry(key) {
                slot.insert(self.source(change).await);
            }
        }
        sources
    }

    async fn source(&self, change: &Change) -> Result<(G::Mirror, Option<CommitOid>), Failure> {
        let client = self.forge.repository(&change.repo).await?;
        let mirror = self.mirror(&client).await?;
        let head = fetch(&mirror, &change.branch, vec![&change.merged_as]).await?;
        Ok((mirror, head))
    }

    /// Finds out what a step still has to do, and makes its commit.
    async fn make(
        &self,
        mirror: &G::Mirror,
        promote: &PromoteV1,
        heads: &Heads,
        sources: &Sources<G::Mirror>,
    ) -> Result<Made, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let gone = |branch: &BranchName| {
            Ok(Made::Known(Branch::Stopped {
                reason: format!("the branch {branch} is gone"),
                remedy: "bring it back, or leave the promotion as it is".to_owned(),
            }))
        };
        let head_of = |branch: &BranchName| match heads.get(branch) {
            Some(Ok(head)) => Ok(head.as_ref()),
            Some(Err(failure)) => Err(same(failure)),
            None => Err(Failure::new(ErrorClass::Bug, "a branch was not fetched")),
        };
        let (from, source) = match sources.get(&(change.repo.id, change.branch.clone())) {
            Some(Ok((from, head))) => (from, head.as_ref()),
            Some(Err(failure)) => return Err(same(failure)),
            None => (mirror, head_of(&change.branch)?),
        };
        let Some(source) = source else {
            return gone(&change.branch);
        };
        let Some(target) = head_of(step.base(change))? else {
            return gone(step.base(change));
        };
        if !is_on(from, source, &change.merged_as).await? {
            let (need, branch, head) = (change.merged_as.clone(), change.branch.clone(), source.clone());
            return Err(FetchError::NotOnBranch { need, branch, head }.into());
        }
        let places = Places {
            source: from.clone(),
            target: mirror.clone(),
        };
        // Keys and selections are compared with what the other repository has, so that has to be here.
        places.bring(change, step, &step.sync).await?;
        let open = match assess(from, mirror, change, step, assess::Heads { source, target }).await? {
            Assessment::Needed(open) => open,
            Assessment::Carried => return Ok(Made::Known(Branch::Carried)),
            Assessment::Unsafe { reason } => {
                let remedy = "take it out of the component, and merge that".to_owned();
                return Ok(Made::Known(Branch::Stopped { reason, remedy }));
            }
        };
        let spec = self.commit_spec(promote, Self::parent(change, step, target), &open);
        let committed = mirror.commit(spec).await?;
        Ok(if committed.changed {
            Made::Commit(committed)
        } else {
            Made::Known(Branch::Carried)
        })
    }
}

/// Moves branches, each by itself.
async fn push(
    mirror: &impl MirrorPort,
    guard: &impl LockGuard,
    updates: &[RefUpdate],
) -> Vec<Result<PushOutcome, Failure>> {
    match mirror.push(guard.lease(), updates).await {
        Ok(outcomes) => {
            failpoint::reached("executor.pushed");
            outcomes.into_iter().map(Ok).collect()
        }
        Err(error) => {
            let failure = Failure::from(error);
            updates.iter().map(|_| Err(same(&failure))).collect()
        }
    }
}

/// Fetches each branch of this repository that the lanes read or lead to.
async fn refresh<R>(mirror: &impl MirrorPort, lanes: &[Lane<'_, R>]) -> Heads {
    let mut wanted: BTreeMap<&BranchName, Vec<&CommitOid>> = BTreeMap::new();
    for lane in lanes {
        let (change, step) = (&lane.promote.change, &lane.promote.step);
        wanted.entry(step.base(change)).or_default();
        if step.repo.is_none() {
            wanted.entry(&change.branch).or_default().push(&change.merged_as);
        }
    }
    let mut heads = Heads::new();
    for (branch, needs) in wanted {
        let head = fetch(mirror, branch, needs).await;
        heads.insert(branch.clone(), head);
    }
    heads
}

/// Brings what the lanes are about to read, so that they need not ask for it one after another.
async fn bring_ahead<R>(mirror: &impl MirrorPort, lanes: &[Lane<'_, R>], heads: &Heads) {
    for (branch, head) in heads {
        let Ok(Some(head)) = head else {
            continue;
        };
        // What leads elsewhere is read at another head, step by step.
        let of_branch = lanes
            .iter()
            .filter(|lane| lane.promote.change.branch == *branch && !lane.promote.step.leads_elsewhere());
        let steps: Vec<Ahead> = of_branch
            .map(|lane| Ahead {
                promoted: lane.promote.change.merged_as.clone(),
                moves: lane
                    .promote
                    .step
                    .sync
                    .iter()
                    .map(|sync| (sync.from.clone(), sync.to.clone()))
                    .collect(),
            })
            .collect();
        mirror.bring_ahead(head, HISTORY_LIMIT, &steps).await;
    }
}

/// Fetches a branch, and once more if a commit that is needed has not come.
async fn fetch(
    mirror: &impl MirrorPort,
    branch: &BranchName,
    needs: Vec<&CommitOid>,
) -> Result<Option<CommitOid>, Failure> {
    let head = mirror.fetch_branch(branch).await?;
    if let Some(head) = &head {
        for need in needs {
            // One that can't be read may be mended by the fetch, too.
            if !matches!(is_on(mirror, head, need).await, Ok(true)) {
                return Ok(mirror.fetch_branch(branch).await?);
            }
        }
    }
    Ok(head)
}

/// Whether a commit is here, and on the branch with that head.
pub(crate) async fn is_on(
    mirror: &impl MirrorPort,
    head: &CommitOid,
    commit: &CommitOid,
) -> Result<bool, ReadError> {
    match mirror.is_descendant(head, commit).await {
        Err(ReadError::NotFetched(_)) => Ok(false),
        answer => answer,
    }
}

/// What a push made of a step's branch.
fn judged(branch: &BranchName, outcome: PushOutcome, committed: Committed) -> Branch {
    match outcome {
        PushOutcome::Pushed | PushOutcome::AlreadyThere => Branch::Ready(committed.oid),
        PushOutcome::Moved { actual: Some(actual) } => Branch::Taken { actual },
        PushOutcome::Moved { actual: None } => Branch::taken(branch),
        PushOutcome::Refused { reason } => Branch::Stopped {
            reason: format!("the branch {branch} was refused: {reason}"),
            remedy: "allow Lockflight to create branches below promotions/ in the rules of this repository"
                .to_owned(),
        },
    }
}

/// What a push made of the branch of an older change's pull request.
fn taken_over(rival: Rival, outcome: PushOutcome, committed: Committed) -> Result<Branch, Failure> {
    match outcome {
        PushOutcome::Pushed | PushOutcome::AlreadyThere => Ok(Branch::TakenOver {
            rival: Box::new(rival),
            commit: committed.oid,
        }),
        // The next attempt sees what came, and leaves it.
        PushOutcome::Moved { .. } => Err(Failure::new(
            ErrorClass::Retry,
            format!(
                "somebody pushed to {} while it was being brought up",
                rival.pull_request.head_branch
            ),
        )),
        PushOutcome::Refused { reason } => Ok(Branch::Stopped {
            reason: format!(
                "the branch {} was refused: {reason}",
                rival.pull_request.head_branch
            ),
            remedy: "allow Lockflight to move branches below promotions/ in the rules of this repository"
                .to_owned(),
        }),
    }
}

fn promotion<R>(client: R, attempt: Attempt, found: Found) -> Prepared<R> {
    Prepared(Stage::Promote(Box::new(Promotion {
        client,
        attempt,
        found,
    })))
}

/// The same failure for another message.
fn same(failure: &Failure) -> Failure {
    Failure::new(failure.class, failure.reason.clone())
}
