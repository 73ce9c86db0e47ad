//! Merges the pull request of a step whose policy says `autoMerge`, if it still is what we made.
//!
//! It is a message of its own, so that a merge that waits for checks or reviews is put aside without repeating anything else, and never
//! holds a worker.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::{Done, Failure};
use lockflight_forge::{MergeMethod, MergeOutcome, PullRequest, PullRequestState};
use lockflight_promotion::message::{Envelope, MergeV1, Outcome};

use crate::promote::is_of;
use crate::{Executor, outcome};

/// How long a merge that GitHub could not do just now is put aside.
const AGAIN: Duration = Duration::from_secs(2);

/// The longest that a merge which waits for others is put aside.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

impl<L: RepoLock> Executor<L> {
    pub(crate) async fn merge(&self, envelope: &Envelope, merge: &MergeV1) -> Result<Done, Failure> {
        let MergeV1 { promote, number } = merge;
        let number = *number;
        let step = promote.step.id.clone();
        let client = self.forge.repository(&promote.change.repo).await?;
        let pull_request = client.pull_request(number).await?;
        if pull_request.merged {
            return Ok(Done::Ack(vec![outcome(
                envelope,
                Outcome::Merged { step, number },
            )]));
        }
        if !is_of(&pull_request, &promote.change, &promote.step) {
            tracing::info!(pr.number = %number, "pull request {number} leads elsewhere now; merging it is left to people");
            return Ok(Done::Ack(Vec::new()));
        }
        if pull_request.state == PullRequestState::Closed {
            return Ok(Done::Ack(vec![outcome(
                envelope,
                Outcome::Declined { step, number },
            )]));
        }
        if self.our_commit(&client, promote).await? != pull_request.head {
            tracing::info!(
                pr.number = %number,
                "pull request {number} has commits that are not ours; merging it is left to people",
            );
            return Ok(Done::Ack(Vec::new()));
        }
        Ok(
            match client
                .merge(number, &pull_request.head, MergeMethod::Auto)
                .await?
            {
                MergeOutcome::Merged(_) | MergeOutcome::AlreadyMerged { .. } => {
                    Done::Ack(vec![outcome(envelope, Outcome::Merged { step, number })])
                }
                // Somebody pushed in this very moment: the next look sees it.
                MergeOutcome::HeadMoved | MergeOutcome::NotMergeable { transient: true, .. } => {
                    Done::Defer(AGAIN, Vec::new())
                }
                MergeOutcome::NotMergeable {
                    reason,
                    transient: false,
                } => {
                    let wait = self.wait(&pull_request);
                    tracing::info!(
                        pr.number = %number, wait_ms = wait.as_millis(),
                        "pull request {number} can't be merged yet, looking again in {wait:?}: {reason}",
                    );
                    Done::Defer(wait, Vec::new())
                }
            },
        )
    }

    /// How long to wait before the next look: a tenth of how long the pull request has been open, so that those that wait for days cost
    /// few calls.
    fn wait(&self, pull_request: &PullRequest) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let opened = Duration::from_secs(u64::try_from(pull_request.created_at).unwrap_or_default());
        let longest = LONGEST_WAIT.max(self.config.merge_poll);
        (now.saturating_sub(opened) / 10).clamp(self.config.merge_poll, longest)
    }
}
