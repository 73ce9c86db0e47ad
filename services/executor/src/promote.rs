//! Carries out one step: branch, pull request, labels, assignee, approval. In this order, each found before it is made.

use std::time::Instant;

use lockflight_fleet::worker::{Done, Failure};
use lockflight_fleet::{LockGuard as _, RepoLock};
use lockflight_forge::{
    Approval, Assigned, CreatePullRequest, NewPullRequest, PullRequest, PullRequestState, RepoClient,
    ReviewState,
};
use lockflight_git::{CommitSpec, Committed, Mirror, PushOutcome, RefUpdate};
use lockflight_promotion::change::Change;
use lockflight_promotion::message::{Body, Envelope, MergeV1, Outcome, Phase, PromoteV1};
use lockflight_promotion::plan::{Step, Sync};
use lockflight_promotion::text::marker::{self, Marker};
use lockflight_promotion::text::{self, Links};
use lockflight_promotion::{CommitOid, ErrorClass, MessageId, PrNumber};

use crate::assess::{Assessment, assess};
use crate::{Executor, failed, outcome};

/// The label of every promotion pull request, Telefonistka's.
const LABEL: &str = "promotion";

impl<L: RepoLock> Executor<L> {
    pub(crate) async fn promote(
        &self,
        envelope: &Envelope,
        promote: &PromoteV1,
        guard: &L::Guard,
    ) -> Result<Done, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let mut attempt = Attempt::start();
        let client = self.forge.repository(&change.repo).await?;

        let mut known = client.find_pull_requests(&step.branch).await?;
        known.retain(|known| is_of(known, change, step));
        attempt.end("look");
        if let Some(merged) = known.iter().find(|known| known.merged) {
            let number = merged.number;
            return Ok(done(
                envelope,
                Outcome::Merged {
                    step: step.id.clone(),
                    number,
                },
            ));
        }
        let open = known.iter().find(|known| known.state == PullRequestState::Open);
        if open.is_none()
            && let Some(closed) = known.first()
        {
            tracing::info!(
                pr.number = %closed.number,
                "pull request {} was closed by a person; it is not opened again", closed.number,
            );
            return Ok(done(
                envelope,
                Outcome::Declined {
                    step: step.id.clone(),
                    number: closed.number,
                },
            ));
        }

        let mut follow = Vec::new();
        let (pull_request, adopted) = if let Some(open) = open {
            (open.clone(), true)
        } else {
            let mirror = self.mirror(&client).await?;
            match self.branch(&mirror, promote, guard, &mut attempt).await? {
                Branch::Ready(commit) => {
                    let (step, branch) = (step.id.clone(), step.branch.clone());
                    follow.push(outcome(envelope, Outcome::BranchPushed { step, branch, commit }));
                }
                Branch::Carried => {
                    return Ok(done(
                        envelope,
                        Outcome::NoChange {
                            step: step.id.clone(),
                        },
                    ));
                }
                Branch::Stopped { reason, remedy } => return Ok(stopped(envelope, promote, reason, remedy)),
            }
            let Some(opened) = self.open(&client, promote, &mut attempt).await? else {
                return Ok(done(
                    envelope,
                    Outcome::NoChange {
                        step: step.id.clone(),
                    },
                ));
            };
            opened
        };
        forgiving(decorate(&client, promote, &pull_request).await)?;
        attempt.end("labels");
        let opened = Outcome::PullRequestOpened {
            step: step.id.clone(),
            number: pull_request.number,
            url: pull_request.html_url.clone(),
            source: change.number,
            adopted,
            rest_calls: client.calls(),
            phases: attempt.phases,
        };
        follow.push(outcome(envelope, opened));
        if (promote.approve || step.auto_merge) && !self.is_ours(&client, promote, &pull_request).await? {
            // Approvals are no more than a favour; that a merge was promised and does not come is told.
            let told = left_to_people(envelope, promote, pull_request.number);
            follow.extend(step.auto_merge.then_some(told));
            return Ok(Done::Ack(follow));
        }
        if promote.approve {
            forgiving(self.approve(promote, &pull_request).await)?;
        }
        if step.auto_merge {
            let (number, commit) = (pull_request.number, pull_request.head);
            let (repo, pull_request) = (change.repo.id.to_string(), number.to_string());
            let id = MessageId::of(&["merge", &repo, step.id.as_str(), &pull_request]);
            let merge = MergeV1 {
                promote: promote.clone(),
                number,
                commit,
            };
            follow.push(envelope.follow(id, Body::Merge(Box::new(merge))));
        }
        Ok(Done::Ack(follow))
    }

    /// Makes the step's commit, and has the branch point to it.
    async fn branch(
        &self,
        mirror: &Mirror,
        promote: &PromoteV1,
        guard: &L::Guard,
        attempt: &mut Attempt,
    ) -> Result<Branch, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let Some(head) = mirror.fetch_branch(&change.branch).await? else {
            return Ok(Branch::Stopped {
                reason: format!("the branch {} is gone", change.branch),
                remedy: "bring it back, or leave the promotion as it is".to_owned(),
            });
        };
        mirror.fetch(&change.branch, &change.merged_as).await?;
        attempt.end("refresh");
        let open = match assess(mirror, change, step, &head).await? {
            Assessment::Needed(open) => open,
            Assessment::Carried => return Ok(Branch::Carried),
            Assessment::Unsafe { reason } => {
                let remedy = "take it out of the component, and merge that".to_owned();
                return Ok(Branch::Stopped { reason, remedy });
            }
        };
        let committed = mirror.commit(self.commit_spec(promote, &open)).await?;
        attempt.end("commit");
        if !committed.changed {
            return Ok(Branch::Carried);
        }
        let branch = step.branch.clone();
        let update = RefUpdate {
            branch,
            expected: None,
            new: Some(committed.oid.clone()),
        };
        let mut outcomes = mirror.push(guard.lease(), &[update]).await?;
        attempt.end("push");
        match outcomes.pop() {
            Some(PushOutcome::Pushed | PushOutcome::AlreadyThere) => Ok(Branch::Ready(committed.oid)),
            // An earlier attempt made it, when less of the step was carried already, or from a message that named something otherwise.
            Some(PushOutcome::Moved { actual: Some(actual) })
                if self.is_alike(mirror, promote, &actual, &committed).await? =>
            {
                Ok(Branch::Ready(actual))
            }
            Some(PushOutcome::Moved { .. }) => Ok(Branch::Stopped {
                reason: format!(
                    "the branch {} has commits that Lockflight did not make; they are left as they are",
                    step.branch
                ),
                remedy: "open a pull request from that branch by hand, or delete the branch and press Redeliver on the \
                         webhook delivery of this pull request's merge"
                    .to_owned(),
            }),
            Some(PushOutcome::Refused { reason }) => Ok(Branch::Stopped {
                reason: format!("the branch {} was refused: {reason}", step.branch),
                remedy: "allow Lockflight to create branches below promotions/ in the rules of this repository".to_owned(),
            }),
            None => Err(Failure::new(ErrorClass::Bug, "the push told nothing of its branch")),
        }
    }

    /// The step's commit, for those of its parts that are open. Beside which parts those are, it is a function of the message alone, so
    /// that doing it again yields the same object id.
    fn commit_spec(&self, promote: &PromoteV1, open: &[Sync]) -> CommitSpec {
        let (change, step) = (&promote.change, &promote.step);
        CommitSpec {
            parent: change.merged_as.clone(),
            edits: open
                .iter()
                .map(|sync| (sync.to.clone(), sync.tree.clone()))
                .collect(),
            message: text::commit::message(change, step),
            author: self.config.author.clone(),
            when: change.committed_at,
        }
    }

    /// Opens the pull request, or takes the one that someone else has opened in the meantime; the flag tells which. None if there is
    /// nothing to merge.
    async fn open(
        &self,
        client: &RepoClient,
        promote: &PromoteV1,
        attempt: &mut Attempt,
    ) -> Result<Option<(PullRequest, bool)>, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let marker = Marker::of(change, Some(promote.plan.clone()), step);
        let marker = marker::write(&self.config.marker_key, change.repo.id, &step.branch, &marker);
        let new = NewPullRequest {
            title: step.title.clone(),
            body: text::pull_request::body(change, step, &marker, &Links::new(self.forge.web_url())),
            head: step.branch.clone(),
            base: change.branch.clone(),
        };
        let created = client.create_pull_request(&new).await?;
        attempt.end("open");
        match created {
            CreatePullRequest::Created(pull_request) => {
                let number = pull_request.number;
                tracing::info!(pr.number = %number, "opened pull request {number}: {}", step.title);
                Ok(Some((*pull_request, false)))
            }
            CreatePullRequest::NoCommitsBetween => Ok(None),
            CreatePullRequest::AlreadyExists => {
                let found = client.find_pull_requests(&step.branch).await?;
                let is_open =
                    |found: &PullRequest| found.state == PullRequestState::Open && is_of(found, change, step);
                match found.into_iter().find(is_open) {
                    Some(pull_request) => Ok(Some((pull_request, true))),
                    None => Err(Failure::new(
                        ErrorClass::Retry,
                        format!(
                            "GitHub says that {} has a pull request, but lists none",
                            step.branch
                        ),
                    )),
                }
            }
        }
    }

    /// Whether the commit that the step's branch points to does what ours would: from the same parent to the same tree.
    async fn is_alike(
        &self,
        mirror: &Mirror,
        promote: &PromoteV1,
        actual: &CommitOid,
        ours: &Committed,
    ) -> Result<bool, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        if mirror.fetch_branch(&step.branch).await?.as_ref() != Some(actual) {
            return Ok(false);
        }
        let found = mirror.commit_info(actual).await?;
        let whole = mirror.commit(self.commit_spec(promote, &step.sync)).await?;
        Ok(found.parents == [change.merged_as.clone()]
            && (found.tree == ours.tree || found.tree == whole.tree))
    }

    /// Whether a commit holds all parts of the step, also those that are carried by now.
    pub(crate) async fn is_whole(
        &self,
        mirror: &Mirror,
        promote: &PromoteV1,
        commit: &CommitOid,
    ) -> Result<bool, Failure> {
        Ok(mirror
            .commit(self.commit_spec(promote, &promote.step.sync))
            .await?
            .oid
            == *commit)
    }

    /// Whether the head of a pull request is a commit that this step makes: with all of its parts, or with those that are open now.
    async fn is_ours(
        &self,
        client: &RepoClient,
        promote: &PromoteV1,
        pull_request: &PullRequest,
    ) -> Result<bool, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let mirror = self.mirror(client).await?;
        mirror.fetch(&change.branch, &change.merged_as).await?;
        if self.is_whole(&mirror, promote, &pull_request.head).await? {
            return Ok(true);
        }
        let Some(head) = mirror.fetch_branch(&change.branch).await? else {
            return Ok(false);
        };
        let Assessment::Needed(open) = assess(&mirror, change, step, &head).await? else {
            return Ok(false);
        };
        Ok(mirror.commit(self.commit_spec(promote, &open)).await?.oid == pull_request.head)
    }

    /// Has the second identity approve the head of the pull request, which is the commit that we made.
    async fn approve(&self, promote: &PromoteV1, pull_request: &PullRequest) -> Result<(), Failure> {
        let Some(approver) = &self.approver else {
            tracing::warn!(
                "the policy asks for approvals (autoApprovePromotionPrs), but no approver is configured: [github.approver]"
            );
            return Ok(());
        };
        let client = approver.repository(&promote.change.repo).await?;
        let identity = approver.identity().await?;
        let reviews = client.reviews(pull_request.number).await?;
        let approved = reviews.iter().any(|review| {
            review.author == identity.login
                && review.state == ReviewState::Approved
                && review.commit.as_ref() == Some(&pull_request.head)
        });
        if approved {
            return Ok(());
        }
        let body = "Approved by policy (autoApprovePromotionPrs).";
        match client
            .approve(pull_request.number, &pull_request.head, body)
            .await?
        {
            Approval::Given(_) => {}
            Approval::OwnPullRequest => tracing::warn!(
                pr.number = %pull_request.number,
                "the approver is the account that opens the pull requests; configure another identity in [github.approver]"
            ),
        }
        Ok(())
    }
}

/// Lets pass what people have to mend but what is not worth stopping for once the pull request is open: labels, assignees, approvals.
fn forgiving(done: Result<(), Failure>) -> Result<(), Failure> {
    match done {
        Err(Failure {
            class: ErrorClass::User,
            reason,
        }) => {
            tracing::warn!("the pull request is open, but lacks something: {reason}");
            Ok(())
        }
        done => done,
    }
}

/// The message that a pull request is not merged by itself, because people pushed to it.
pub(crate) fn left_to_people(envelope: &Envelope, promote: &PromoteV1, number: PrNumber) -> Envelope {
    tracing::info!(
        pr.number = %number,
        "pull request {number} has commits that are not ours; merging it is left to people",
    );
    let reason = format!("pull request {number} has commits that Lockflight did not make");
    failed(
        envelope,
        promote,
        &reason,
        "review it, and merge it by hand if it is right",
    )
}

/// Whether a pull request is that of a step: from the step's branch of this very repository, into the branch of the change. A branch of
/// a fork may bear the same name, and people may open another pull request from ours.
pub(crate) fn is_of(pull_request: &PullRequest, change: &Change, step: &Step) -> bool {
    pull_request.head_branch == step.branch.as_str()
        && pull_request
            .head_repo
            .as_ref()
            .is_some_and(|repo| repo.id == change.repo.id)
        && pull_request.base_branch == change.branch
}

/// Adds what label and assignee are missing. That an author can't be assigned stops nothing.
async fn decorate(
    client: &RepoClient,
    promote: &PromoteV1,
    pull_request: &PullRequest,
) -> Result<(), Failure> {
    let number = pull_request.number;
    if !pull_request.labels.contains(LABEL) {
        client.add_labels(number, &[LABEL.to_owned()]).await?;
    }
    let author = promote.change.original_author();
    if author.as_str().ends_with("[bot]") || pull_request.assignees.contains(author) {
        return Ok(());
    }
    match client.add_assignees(number, std::slice::from_ref(author)).await? {
        Assigned::All => {}
        Assigned::Without(_) => {
            tracing::debug!(pr.number = %number, "{author} can't be assigned to {number}");
        }
        Assigned::Refused(reason) => {
            tracing::debug!(pr.number = %number, "{author} was not assigned to {number}: {reason}");
        }
    }
    Ok(())
}

enum Branch {
    /// It points to our commit.
    Ready(CommitOid),
    /// There is nothing to promote (any more).
    Carried,
    /// People have to mend something first.
    Stopped { reason: String, remedy: String },
}

fn done(envelope: &Envelope, what: Outcome) -> Done {
    Done::Ack(vec![outcome(envelope, what)])
}

/// The step can't be done as it stands: people are told, and the message is settled.
fn stopped(envelope: &Envelope, promote: &PromoteV1, reason: String, remedy: String) -> Done {
    let told = failed(envelope, promote, &reason, &remedy);
    let number = promote.change.number;
    Done::Ack(vec![told, outcome(envelope, Outcome::Stopped { number, reason })])
}

/// The times of one attempt's parts.
struct Attempt {
    since: Instant,
    phases: Vec<Phase>,
}

impl Attempt {
    fn start() -> Self {
        Self {
            since: Instant::now(),
            phases: Vec::new(),
        }
    }

    fn end(&mut self, name: &str) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.phases.push(Phase {
            name: name.to_owned(),
            ms,
        });
        self.since = Instant::now();
    }
}
