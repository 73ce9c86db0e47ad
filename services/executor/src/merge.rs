//! Merges the pull request of a step whose policy says `autoMerge`, if it still is what we made and still is wanted.
//!
//! It is a message of its own, so that a merge that waits for checks or reviews is put aside without repeating anything else, and never
//! holds a worker.

use std::time::Duration;

use lockflight_fleet::worker::{Done, Failure};
use lockflight_fleet::{Clock, RepoLock, failpoint};
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_forge::{MergeMethod, MergeOutcome, PullRequest, PullRequestState};
use lockflight_git::port::{MirrorPort, MirrorsPort};
use lockflight_promotion::message::{Envelope, MergeV1, Outcome};
use lockflight_promotion::plan::Sync;
use lockflight_promotion::{CommitOid, PathInRepo};

use crate::assess::{Assessment, assess};
use crate::promote::{is_of, left_to_people};
use crate::restraint::{Decided, Restraint};
use crate::supersede::may_be_taken_over;
use crate::{Executor, failed, outcome};

/// The shortest that a merge is put aside.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);

/// The longest that a merge which waits for others is put aside.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Seconds in which whoever takes a pull request over gets to say so.
const JUST_NOW_S: i64 = 120;

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    pub(crate) async fn merge(&self, envelope: &Envelope, merge: &MergeV1) -> Result<Done, Failure> {
        let (promote, number) = (&merge.promote, merge.number);
        let (change, step) = (&promote.change, &promote.step);
        let client = self.forge.repository(step.repo(change)).await?;
        if let Some(restraint) = self.restraint(change, step, &mut Decided::default()).await? {
            return Ok(match restraint {
                Restraint::Held { why, wait } => {
                    tracing::info!(pr.number = %number, "pull request {number} is not merged: {why}");
                    Done::Defer(wait, Vec::new())
                }
                Restraint::Skipped => Done::Ack(Vec::new()),
            });
        }
        let pull_request = client.pull_request(number).await?;
        if self.superseded(&pull_request, change, step).is_some() {
            // It is another change's by now.
            return Ok(Done::Ack(Vec::new()));
        }
        if pull_request.merged {
            let step = step.id.clone();
            return Ok(Done::Ack(vec![outcome(
                envelope,
                Outcome::Merged { step, number },
            )]));
        }
        if pull_request.state == PullRequestState::Closed {
            let step = step.id.clone();
            return Ok(Done::Ack(vec![outcome(
                envelope,
                Outcome::Declined { step, number },
            )]));
        }
        if may_be_taken_over(step) && pull_request.head != merge.commit && self.has_just_moved(&pull_request)
        {
            // A newer change may be taking it over in this very moment, and says so next.
            return Ok(Done::Defer(SHORTEST_WAIT, Vec::new()));
        }
        if pull_request.head != merge.commit || !is_of(&pull_request, change, step) {
            return Ok(Done::Ack(vec![left_to_people(envelope, promote, number)]));
        }
        if pull_request.mergeable_state.as_deref() == Some("dirty") {
            let reason = format!("pull request {number} conflicts with {}", step.base(change));
            let remedy = "resolve the conflict and merge it by hand, or close it";
            return Ok(Done::Ack(vec![failed(envelope, promote, &reason, remedy)]));
        }
        // Nobody looks before this merge, so it must not undo what has come to the targets since, nor be mixed with it.
        let places = self.places(&client, change, step).await?;
        let Some(tips) = places.fetch(change, step).await? else {
            return Ok(Done::Ack(Vec::new()));
        };
        let mirror = &places.target;
        let open = match assess(&places.source, mirror, change, step, tips.heads()).await? {
            Assessment::Needed(open) => open,
            Assessment::Carried => Vec::new(),
            Assessment::Unsafe { reason } => {
                return Ok(Done::Ack(vec![failed(
                    envelope,
                    promote,
                    &reason,
                    "close the pull request",
                )]));
            }
        };
        let parent = if step.is_made_on_target(change) {
            self.made_alike(&places, &tips, promote, &merge.commit).await?
        } else {
            Some(change.merged_as.clone())
        };
        let Some(parent) = parent else {
            return Ok(Done::Ack(vec![left_to_people(envelope, promote, number)]));
        };
        places.bring(change, step, &open).await?;
        let spec = self.commit_spec(promote, parent.clone(), &open);
        if open.is_empty() || mirror.commit(spec).await?.oid != merge.commit {
            let reason =
                format!("the targets of pull request {number} have later content of the same source by now");
            let remedy = "close it, or merge it by hand if it is the older content that you want";
            return Ok(Done::Ack(vec![failed(envelope, promote, &reason, remedy)]));
        }
        if !are_untouched(mirror, &parent, &tips.target, &open).await? {
            let reason = format!(
                "the targets of pull request {number} have changed since it was planned, and a merge would mix both"
            );
            let remedy = "close it, and let the next change to the same components bring them whole; or merge it by hand if the \
                          result is right";
            return Ok(Done::Ack(vec![failed(envelope, promote, &reason, remedy)]));
        }
        failpoint::reached("executor.merging");
        let merged = client
            .merge(number, &pull_request.head, MergeMethod::Auto)
            .await?;
        failpoint::reached("executor.merged");
        Ok(match merged {
            MergeOutcome::Merged(_) | MergeOutcome::AlreadyMerged { .. } => {
                let step = step.id.clone();
                Done::Ack(vec![outcome(envelope, Outcome::Merged { step, number })])
            }
            // Somebody pushed in this very moment: the next look sees it.
            MergeOutcome::HeadMoved => Done::Defer(SHORTEST_WAIT, Vec::new()),
            MergeOutcome::NotMergeable { transient: true, .. } => {
                Done::Defer(wait(&self.clock, &pull_request, SHORTEST_WAIT), Vec::new())
            }
            MergeOutcome::NotMergeable {
                reason,
                transient: false,
            } => {
                let wait = wait(&self.clock, &pull_request, self.config.merge_poll);
                tracing::info!(
                    pr.number = %number, wait_ms = wait.as_millis(),
                    "pull request {number} can't be merged yet, looking again in {wait:?}: {reason}",
                );
                Done::Defer(wait, Vec::new())
            }
        })
    }
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// Whether a pull request has changed within the last two minutes.
    pub(crate) fn has_just_moved(&self, pull_request: &PullRequest) -> bool {
        self.clock.time_of_day() / 1_000 - pull_request.updated_at < JUST_NOW_S
    }
}

/// Whether there stands at the targets what stood there when the step was planned. The pull request is joined to the branch file by file: with
/// anything else there, the result could be content that no source ever had.
async fn are_untouched(
    mirror: &impl MirrorPort,
    parent: &CommitOid,
    head: &CommitOid,
    open: &[Sync],
) -> Result<bool, Failure> {
    // A file in which keys are set is looked for as its directory, whose id tells of it.
    let place = |sync: &Sync| match sync.keys {
        Some(_) => sync.to.parent().unwrap_or_default(),
        None => sync.to.clone(),
    };
    let targets: Vec<PathInRepo> = open.iter().map(place).collect();
    Ok(mirror.entries(head, &targets).await? == mirror.entries(parent, &targets).await?)
}

/// How long to wait before the next look: a tenth of how long the pull request has been open, so that those that wait for days cost few
/// calls.
fn wait(clock: &Clock, pull_request: &PullRequest, shortest: Duration) -> Duration {
    let now = Duration::from_millis(u64::try_from(clock.time_of_day()).unwrap_or_default());
    let opened = Duration::from_secs(u64::try_from(pull_request.created_at).unwrap_or_default());
    let shortest = shortest.max(Duration::from_millis(100));
    (now.saturating_sub(opened) / 10).clamp(shortest, LONGEST_WAIT.max(shortest))
}
