//! The executor: takes the lock of a repository, writes git, opens and merges pull requests, and tells people.
//!
//! # What it guarantees
//!
//! Messages come at least once; effects happen once. Each effect is *look, then act*, and has a name that is a function of the message
//! alone, so that looking finds what an earlier attempt, or another worker, has done:
//!
//! | effect | found by | fence |
//! |---|---|---|
//! | branch | its name | compare-and-swap: it must not exist yet, or hold just what our commit would |
//! | pull request | its head branch, in any state | GitHub takes one open pull request per head and base |
//! | labels, assignee | what the pull request has | adding twice is adding once |
//! | comment | the signed tag that it begins with | the repository's lock, checked right before the writing |
//! | status | the latest of our context | the last one counts |
//! | approval | a review of ours on that very commit | only the commit that we made is approved |
//! | merge | `merged` of the pull request | `sha`: only the commit that we made |
//! | closing a superseded one | its marker, written in the same call | its head, looked at right before; its branch stays |
//!
//! # What the lock is for
//!
//! Steps of one repository come in batches. A batch takes the lock once, fetches each branch once, makes its commits, and pushes all
//! of their branches at once (`batch.rs`). A push checks that the lock is held; when it is lost, the git work ends, and nothing is pushed after.
//! That saves work and keeps an order, but nothing depends on it. The one thing that does is the comment: the lock is taken for the look and
//! the writing. Pull requests, labels, statuses, approvals and merges are made without it, one message after another.
//!
//! # What may interleave
//!
//! Two executors may handle the same message when a lock or a visibility timeout ran out under one of them. Two effects can then be doubled:
//! - A comment, when the lock is lost while the request that writes it is under way: it was held when the request was sent, and the
//!   next holder looked before the comment could be seen.
//! - A pull request, when the other one's was merged or closed between the look and the opening. Where a batch has made a step wait for
//!   more than five seconds, it looks again. The second has nothing to merge, or what a person declined.
//!
//! People may push to our branch, close our pull request or merge it at any moment: their deed stands.

mod assess;
mod attempt;
mod batch;
mod command;
mod comments;
mod forward;
mod gates;
mod holds;
mod look;
mod merge;
mod ours;
mod outlook;
mod places;
mod preview;
mod promote;
mod report;
mod restraint;
mod supersede;
mod tell;
mod waves;

use std::sync::Arc;
use std::time::Duration;

use lockflight_fleet::worker::{Done, Failure, Handler};
use lockflight_fleet::{Clock, LockGuard, RepoLock};
use lockflight_forge::Forge;
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_git::port::MirrorsPort;
use lockflight_git::{Credentials, Identity, Mirrors, Remote};
use lockflight_outbound::Outbound;
use lockflight_promotion::message::{Body, Envelope, Outcome, PromoteV1, Report, ReportV1};
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_promotion::{ErrorClass, MessageId, text};

use crate::batch::Stage;

pub use crate::batch::Prepared;
pub use crate::forward::Forwarder;

/// What an executor needs to know beside its connections.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// Signs lineage markers and comment tags.
    pub marker_key: MarkerKey,
    /// Further keys whose signatures are believed, while a secret is being replaced.
    pub older_marker_keys: Vec<MarkerKey>,
    /// Author and committer of promotion commits. The same for every executor: it is part of what makes a commit the same.
    pub author: Identity,
    /// How often the queue tries a message before it parks it.
    pub max_attempts: u32,
    /// How long a merge that waits for checks or reviews is put aside before it is looked at again.
    pub merge_poll: Duration,
}

impl ExecutorConfig {
    fn marker_keys(&self) -> Vec<MarkerKey> {
        std::iter::once(&self.marker_key)
            .chain(&self.older_marker_keys)
            .cloned()
            .collect()
    }
}

/// What an executor works with.
#[derive(Clone, Debug)]
pub struct Executor<L, F = Forge, G = Mirrors> {
    forge: F,
    /// The second identity, for `autoApprovePromotionPrs`: GitHub lets nobody approve their own pull request.
    approver: Option<F>,
    mirrors: G,
    lock: L,
    clock: Clock,
    /// The way to the addresses that gates name; none where no address is allowed.
    outbound: Option<Outbound>,
    config: Arc<ExecutorConfig>,
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// An executor that works through `forge` and `mirrors`, and does its git work under `lock`.
    #[must_use]
    pub fn new(forge: F, approver: Option<F>, mirrors: G, lock: L, config: ExecutorConfig) -> Self {
        Self {
            forge,
            approver,
            mirrors,
            lock,
            clock: Clock::system(),
            outbound: None,
            config: Arc::new(config),
        }
    }

    /// The same, by another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The same, with a way to the addresses that gates name.
    #[must_use]
    pub fn with_outbound(mut self, outbound: Outbound) -> Self {
        self.outbound = Some(outbound);
        self
    }

    /// The mirror of the repository that `client` talks about.
    async fn mirror(&self, client: &F::Repository) -> Result<G::Mirror, Failure> {
        let credentials = Credentials::token(client.git_credentials().await?);
        Ok(self.mirrors.open(
            client.id(),
            Remote {
                url: client.git_url(),
                credentials: Some(credentials),
            },
        ))
    }
}

/// Gives a lock back.
async fn release(guard: impl LockGuard) {
    if let Err(error) = guard.release().await {
        // The lease runs out by itself; the next holder waits a little longer.
        tracing::warn!("{}", Failure::from(error).reason);
    }
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Handler for Executor<L, F, G> {
    type Prepared = Prepared<F::Repository>;

    async fn prepare(&self, batch: &[&Envelope]) -> Vec<Result<Self::Prepared, Failure>> {
        self.prepare_batch(batch).await
    }

    async fn handle(
        &self,
        envelope: &Envelope,
        failures: u32,
        prepared: Self::Prepared,
    ) -> Result<Done, Failure> {
        match (&envelope.body, prepared.0) {
            (Body::Promote(step), Stage::Promote(promotion)) => {
                self.promote(envelope, step, *promotion).await
            }
            (Body::Merge(merge), Stage::Merge) => self.merge(envelope, merge).await,
            (Body::Command(command), Stage::Merge) => self.command(envelope, command).await,
            (Body::Report(report), Stage::Report(head)) => {
                self.report(envelope, report, failures, head).await
            }
            _ => Err(Failure::new(
                ErrorClass::Bug,
                "a message was prepared as if it were another",
            )),
        }
    }

    /// A step that is not tried again is told on the pull request that caused it; so is how the steps of a plan
    /// are when nobody waits for them any more.
    fn given_up(&self, envelope: &Envelope, reason: &str) -> Vec<Envelope> {
        let promote = match &envelope.body {
            Body::Promote(promote) => promote,
            Body::Merge(merge) => &merge.promote,
            Body::Report(report) => {
                return report::last_look(envelope, report).into_iter().collect();
            }
            Body::Command(_) | Body::Delivery(_) | Body::Push(_) | Body::Forward(_) | Body::Outcome(_) => {
                return Vec::new();
            }
        };
        let remedy =
            "mend what it names, then press Redeliver on the webhook delivery of this pull request's merge";
        vec![failed(envelope, promote, reason, remedy)]
    }
}

/// The message that tells of a step that stopped.
fn failed(cause: &Envelope, promote: &PromoteV1, reason: &str, remedy: &str) -> Envelope {
    let report: Report = text::failure::step(&promote.step, reason, remedy).into();
    let id = MessageId::of(&[
        "failed",
        &promote.change.repo.id.to_string(),
        promote.step.id.as_str(),
        reason,
    ]);
    let body = Body::Report(Box::new(ReportV1 {
        change: promote.change.clone(),
        report,
    }));
    // The pull request that it is told on may be in another repository than the step's.
    Envelope {
        repo: promote.change.repo.clone(),
        ..cause.follow(id, body)
    }
}

/// A message for the journal.
fn outcome(cause: &Envelope, outcome: Outcome) -> Envelope {
    let id = MessageId::of(&[outcome.name(), cause.id.as_str()]);
    cause.follow(id, Body::Outcome(outcome))
}

#[cfg(test)]
mod tests;
