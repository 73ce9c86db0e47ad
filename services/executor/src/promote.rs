//! Carries out one step: pull request, labels, assignee, approval, each found before it is made. What git has to do is done by then,
//! together with the other steps of the batch.

use std::time::Duration;

use lockflight_fleet::worker::{Done, Failure};
use lockflight_fleet::{RepoLock, failpoint};
use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{
    Approval, Assigned, CreatePullRequest, NewPullRequest, PullRequest, PullRequestState, ReviewState,
};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::change::Change;
use lockflight_promotion::message::{Body, Envelope, MergeV1, Outcome, PromoteV1};
use lockflight_promotion::plan::Step;
use lockflight_promotion::text::marker::{self, Marker};
use lockflight_promotion::text::{self, Links};
use lockflight_promotion::{BranchName, CommitOid, ErrorClass, MessageId, PrNumber};

use crate::attempt::Attempt;
use crate::supersede::{Rival, may_be_taken_over, needless};
use crate::{Executor, failed, outcome};

/// The label of every promotion pull request, Telefonistka's.
const LABEL: &str = "promotion";

/// A look at the forge that is older than this is not relied on where something is opened.
const FRESH: Duration = Duration::from_secs(5);

/// A step whose git work is done.
#[derive(Debug)]
pub(crate) struct Promotion<R> {
    pub(crate) client: R,
    pub(crate) attempt: Attempt,
    pub(crate) found: Found,
}

/// How far a step is.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is over.
    Over(Outcome),
    /// It has an open pull request.
    Open(Box<PullRequest>),
    /// It has none, and its branch is like that.
    Branch(Branch),
    /// It had none, and another message of the batch is about the same branch.
    Twin,
}

/// What became of a step's branch.
#[derive(Debug)]
pub(crate) enum Branch {
    /// It points to our commit.
    Ready(CommitOid),
    /// It is that of an older change's pull request, and points to our commit by now.
    TakenOver {
        /// The pull request as it was.
        rival: Box<Rival>,
        /// Our commit.
        commit: CommitOid,
    },
    /// It was there, with another commit than ours.
    Taken { actual: CommitOid },
    /// There is nothing to promote (any more).
    Carried,
    /// People have to mend something first.
    Stopped { reason: String, remedy: String },
}

impl Branch {
    /// A branch that people made, or moved.
    pub(crate) fn taken(branch: &BranchName) -> Self {
        Self::Stopped {
            reason: format!(
                "the branch {branch} has commits that Lockflight did not make; they are left as they are"
            ),
            remedy: "open a pull request from that branch by hand, or delete the branch and press Redeliver on the \
                     webhook delivery of this pull request's merge"
                .to_owned(),
        }
    }
}

/// What the forge has of a step.
pub(crate) enum Look {
    /// A pull request, in whatever state.
    Found(Found),
    /// Nothing: it needs a branch.
    Nothing,
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// Looks for the step's pull request.
    pub(crate) async fn look_for_pull_request(
        &self,
        client: &F::Repository,
        promote: &PromoteV1,
    ) -> Result<Look, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let mut known = client.find_pull_requests(&step.branch).await?;
        known.retain(|known| is_of(known, change, step));
        if known.is_empty() {
            known.extend(Box::pin(self.taken_for(client, change, step)).await?);
        }
        let over = |outcome| Ok(Look::Found(Found::Over(outcome)));
        let superseded = known
            .first()
            .and_then(|known| Some((known.number, self.superseded(known, change, step)?)));
        if let Some((number, by)) = superseded {
            return over(needless(promote, Some(number), by));
        }
        if let Some(merged) = known.iter().find(|known| known.merged) {
            let (step, number) = (step.id.clone(), merged.number);
            return over(Outcome::Merged { step, number });
        }
        if let Some(open) = known.iter().find(|known| known.state == PullRequestState::Open) {
            return Ok(Look::Found(Found::Open(Box::new(open.clone()))));
        }
        if let Some(closed) = known.first() {
            let (step, number) = (step.id.clone(), closed.number);
            tracing::info!(
                pr.number = %number, "pull request {number} was closed by a person; it is not opened again",
            );
            return over(Outcome::Declined { step, number });
        }
        Ok(Look::Nothing)
    }

    pub(crate) async fn promote(
        &self,
        envelope: &Envelope,
        mut promote: &PromoteV1,
        promotion: Promotion<F::Repository>,
    ) -> Result<Done, Failure> {
        let asked = &promote.step;
        let Promotion {
            client,
            mut attempt,
            mut found,
        } = promotion;
        attempt.end("turn");
        let opens = matches!(found, Found::Branch(Branch::Ready(_) | Branch::Taken { .. }));
        let on_branch;
        let is_stale = opens && attempt.age() > FRESH;
        if is_stale || matches!(found, Found::Twin) {
            // The others of the batch were done in the meantime, and perhaps this one by somebody else.
            if let Look::Found(now) = self.look_for_pull_request(&client, promote).await? {
                found = now;
            }
            attempt.end("look");
        }

        let mut follow = Vec::new();
        // The commit that we have just made and put there, so that there is nothing to find out about it.
        let mut ours = None;
        let (pull_request, adopted) = match found {
            Found::Over(over) => return Ok(done(envelope, over)),
            Found::Open(pull_request) => {
                if pull_request.head_branch != promote.step.branch.as_str() {
                    let branch = BranchName::parse(pull_request.head_branch.as_str())
                        .map_err(|error| Failure::of(ErrorClass::Bug, &error))?;
                    on_branch = promote.on_branch(branch);
                    promote = &on_branch;
                }
                (*pull_request, true)
            }
            Found::Twin => {
                let reason = "an equal message of the same batch did not get its pull request";
                return Err(Failure::new(ErrorClass::Retry, reason));
            }
            Found::Branch(Branch::TakenOver { rival, commit }) => {
                on_branch = promote.on_branch(rival.branch.clone());
                promote = &on_branch;
                let taken = Box::pin(self.take_over(promote, &client, &rival, &commit)).await?;
                attempt.end("open");
                follow.push(outcome(
                    envelope,
                    Outcome::BranchPushed {
                        step: promote.step.id.clone(),
                        branch: promote.step.branch.clone(),
                        commit: commit.clone(),
                    },
                ));
                ours = Some(commit);
                (taken, false)
            }
            Found::Branch(branch) => {
                let no_change = || {
                    let step = asked.id.clone();
                    Ok(done(envelope, Outcome::NoChange { step }))
                };
                if let Branch::Ready(commit) = &branch {
                    ours = Some(commit.clone());
                }
                let commit = match self.proven(&client, promote, branch).await? {
                    Branch::Ready(commit) => commit,
                    Branch::Carried => return no_change(),
                    Branch::Taken { .. } | Branch::TakenOver { .. } => {
                        return Err(Failure::new(ErrorClass::Bug, "a branch was not judged"));
                    }
                    Branch::Stopped { reason, remedy } => {
                        return Ok(stopped(envelope, promote, reason, remedy));
                    }
                };
                let (id, branch) = (asked.id.clone(), asked.branch.clone());
                follow.push(outcome(
                    envelope,
                    Outcome::BranchPushed {
                        step: id,
                        branch,
                        commit: commit.clone(),
                    },
                ));
                let Some(opened) = self.open(&client, promote, &commit, &mut attempt).await? else {
                    return no_change();
                };
                opened
            }
        };
        let (change, step) = (&promote.change, &promote.step);
        if step.branch != asked.branch {
            forgiving(Box::pin(self.tell_carried(promote, pull_request.number)).await)?;
        }
        failpoint::reached("executor.labelling");
        forgiving(decorate(&client, promote, &pull_request).await)?;
        failpoint::reached("executor.labelled");
        attempt.end("labels");
        let opened = Outcome::PullRequestOpened {
            step: step.id.clone(),
            number: pull_request.number,
            url: pull_request.html_url.clone(),
            source: change.number,
            adopted,
            rest_calls: client.calls(),
            phases: attempt.into_phases(),
        };
        follow.push(outcome(envelope, opened));
        // Boxed, like the other ways that few steps take: the way that most take stays small.
        let (settled, is_open) = Box::pin(self.settle(envelope, promote, &client, &pull_request)).await?;
        follow.extend(settled);
        if !is_open {
            return Ok(Done::Ack(follow));
        }
        if (promote.approve || step.auto_merge)
            && ours.as_ref() != Some(&pull_request.head)
            && !self.is_ours(&client, promote, &pull_request).await?
        {
            if may_be_taken_over(step) && self.has_just_moved(&pull_request) {
                // The forge tells of a push a moment after it has taken it.
                let reason = format!(
                    "the head of pull request {} is not our commit yet",
                    pull_request.number
                );
                return Err(Failure::new(ErrorClass::RetryAfter(FRESH), reason));
            }
            // Approvals are no more than a favour; that a merge was promised and does not come is told.
            let told = left_to_people(envelope, promote, pull_request.number);
            follow.extend(step.auto_merge.then_some(told));
            return Ok(Done::Ack(follow));
        }
        if promote.approve {
            forgiving(self.approve(promote, &pull_request).await)?;
        }
        if step.auto_merge && !promote.attended {
            let (number, commit) = (pull_request.number, pull_request.head);
            let (repo, pull_request) = (step.repo(change).id.to_string(), number.to_string());
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

    /// A branch that is ready, or can't be: one that was there already is looked at.
    async fn proven(
        &self,
        client: &F::Repository,
        promote: &PromoteV1,
        branch: Branch,
    ) -> Result<Branch, Failure> {
        let Branch::Taken { actual } = branch else {
            return Ok(branch);
        };
        Ok(if self.is_alike(client, promote, &actual).await? {
            Branch::Ready(actual)
        } else {
            Branch::taken(&promote.step.branch)
        })
    }

    /// Opens the pull request, or takes the one that someone else has opened in the meantime; the flag tells which. None if there is
    /// nothing to merge.
    async fn open(
        &self,
        client: &F::Repository,
        promote: &PromoteV1,
        commit: &CommitOid,
        attempt: &mut Attempt,
    ) -> Result<Option<(PullRequest, bool)>, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let mut marker = Marker::of(change, Some(promote.plan.clone()), step);
        marker.standing = Self::stand(change, step, commit);
        let marker = marker::write(
            &self.config.marker_key,
            step.repo(change).id,
            &step.branch,
            &marker,
        );
        let new = NewPullRequest {
            title: step.title.clone(),
            body: text::pull_request::body(change, step, &marker, &Links::new(self.forge.web_url())),
            head: step.branch.clone(),
            base: step.base(change).clone(),
        };
        failpoint::reached("executor.opening");
        let created = client.create_pull_request(&new).await?;
        failpoint::reached("executor.opened");
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

    /// Has the second identity approve the head of the pull request, which is the commit that we made.
    async fn approve(&self, promote: &PromoteV1, pull_request: &PullRequest) -> Result<(), Failure> {
        let Some(approver) = &self.approver else {
            tracing::warn!(
                "the policy asks for approvals (autoApprovePromotionPrs), but no approver is configured: [github.approver]"
            );
            return Ok(());
        };
        let client = approver.repository(promote.step.repo(&promote.change)).await?;
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
        failpoint::reached("executor.approving");
        let approval = client
            .approve(pull_request.number, &pull_request.head, body)
            .await?;
        failpoint::reached("executor.approved");
        match approval {
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

/// Whether a pull request is that of a step: from the step's branch of the target's very repository, into the target's branch. A branch of
/// a fork may bear the same name, and people may open another pull request from ours.
pub(crate) fn is_of(pull_request: &PullRequest, change: &Change, step: &Step) -> bool {
    pull_request.head_branch == step.branch.as_str()
        && pull_request
            .head_repo
            .as_ref()
            .is_some_and(|repo| repo.id == step.repo(change).id)
        && pull_request.base_branch == *step.base(change)
}

/// Adds what label and assignee are missing. That an author can't be assigned stops nothing.
async fn decorate(
    client: &impl RepositoryPort,
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

fn done(envelope: &Envelope, what: Outcome) -> Done {
    Done::Ack(vec![outcome(envelope, what)])
}

/// The step can't be done as it stands: people are told, and the message is settled.
fn stopped(envelope: &Envelope, promote: &PromoteV1, reason: String, remedy: String) -> Done {
    let told = failed(envelope, promote, &reason, &remedy);
    let number = promote.change.number;
    Done::Ack(vec![told, outcome(envelope, Outcome::Stopped { number, reason })])
}
