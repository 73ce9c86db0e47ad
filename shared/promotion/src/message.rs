//! The messages between the roles, and what the journal keeps of them.
//!
//! Every message is an [`Envelope`]: who and what it is about in fields that any reader understands, and a [`Body`] with its own
//! version. A reader that meets a version that it does not know puts the message back for a newer reader; it never drops it.

mod passing;

use serde::{Deserialize, Serialize};

pub use passing::{ForwardV1, Original, PushV1};

use crate::change::{Change, Repository};
use crate::plan::{PlannedFlow, Step};
use crate::{BranchName, CommitOid, DeliveryId, Login, MessageId, PlanId, PrNumber, StepId, TraceParent};

/// The version of the envelope's own fields.
pub const ENVELOPE_VERSION: u8 = 1;

/// One message, on a queue or in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`ENVELOPE_VERSION`].
    pub v: u8,
    /// What it is about, as an id: the same message sent twice has the same id.
    pub id: MessageId,
    /// The repository, and through it the partition.
    pub repo: Repository,
    /// The webhook delivery that set all of this off.
    pub delivery: DeliveryId,
    /// The message that this one follows from; none for a delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<MessageId>,
    /// How often it has been tried before: 0 at first. The queue counts; this is what it had counted when it was handed out.
    #[serde(default)]
    pub attempt: u32,
    /// The trace context of whoever sent it.
    pub traceparent: TraceParent,
    /// What it says.
    pub body: Body,
}

impl Envelope {
    /// A message that follows from this one.
    #[must_use]
    pub fn follow(&self, id: MessageId, body: Body) -> Self {
        Self {
            v: ENVELOPE_VERSION,
            id,
            repo: self.repo.clone(),
            delivery: self.delivery.clone(),
            cause: Some(self.id.clone()),
            attempt: 0,
            traceparent: self.traceparent.clone(),
            body,
        }
    }

    /// Whether the journal keeps it. It does not keep the bodies of webhooks, which are on their way to somebody else: what became of them is
    /// told by outcomes.
    #[must_use]
    pub const fn is_journaled(&self) -> bool {
        !matches!(self.body, Body::Push(_) | Body::Forward(_))
    }

    /// The routing key: `delivery.<event>` and `push.<kind>` are work for planners, `step.<kind>` for executors, `forward.<kind>` for those
    /// who pass webhooks on, `outcome.<kind>` for nobody but the journal.
    #[must_use]
    pub fn routing_key(&self) -> String {
        match &self.body {
            Body::Delivery(delivery) => format!("delivery.{}", delivery.event),
            Body::Promote(_) => "step.promote".to_owned(),
            Body::Merge(_) => "step.merge".to_owned(),
            Body::Report(_) => "step.report".to_owned(),
            Body::Command(_) => "step.command".to_owned(),
            Body::Push(_) => "push.default".to_owned(),
            Body::Forward(_) => "forward.send".to_owned(),
            Body::Outcome(outcome) => format!("outcome.{}", outcome.name()),
        }
    }
}

/// What a message says. The tag carries the version of the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Body {
    /// A webhook, reduced to what a planner needs to look for itself.
    #[serde(rename = "delivery.v1")]
    Delivery(DeliveryV1),
    /// Open one promotion pull request.
    #[serde(rename = "step.promote.v1")]
    Promote(Box<PromoteV1>),
    /// Merge a promotion pull request as soon as GitHub allows (`autoMerge`).
    #[serde(rename = "step.merge.v1")]
    Merge(Box<MergeV1>),
    /// Tell people about a change: a status on it, and perhaps a comment.
    #[serde(rename = "step.report.v1")]
    Report(Box<ReportV1>),
    /// Do what a person asked for in a comment, if that person may.
    #[serde(rename = "step.command.v1")]
    Command(Box<CommandV1>),
    /// A push to the default branch, whose webhook may have to be passed on.
    #[serde(rename = "push.v1")]
    Push(Box<PushV1>),
    /// Pass a webhook on to one endpoint.
    #[serde(rename = "forward.v1")]
    Forward(Box<ForwardV1>),
    /// Something happened. Only for the journal.
    #[serde(rename = "outcome.v1")]
    Outcome(Outcome),
}

/// A webhook that was verified, reduced to ids. It is a hint: the planner reads the facts itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryV1 {
    /// `X-GitHub-Event`, such as `pull_request`.
    pub event: String,
    /// The `action` of the body, such as `closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The SHA-256 of the raw body, in hexadecimal, since the headers are not signed.
    pub body_sha256: String,
    /// The pull request that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestHint>,
    /// The comment that was written, by its numeric id (`issue_comment`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<u64>,
    /// The label that was put on (`pull_request` with the action `labeled`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
    /// The head of the pull request then, where the webhook has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<CommitOid>,
}

impl DeliveryV1 {
    /// What tells of a merge: pull request `number` was closed, and is merged.
    #[must_use]
    pub fn merged(number: PrNumber, body_sha256: String) -> Self {
        Self {
            event: "pull_request".to_owned(),
            action: Some("closed".to_owned()),
            body_sha256,
            pull_request: Some(PullRequestHint { number, merged: true }),
            comment: None,
            label: None,
            sender: None,
            head: None,
        }
    }

    /// What has a planner look what of a merged change has been rolled back, and has that carried on. A planner that does not know it takes it
    /// for the merge.
    #[must_use]
    pub fn rolled_back(number: PrNumber) -> Self {
        Self {
            action: Some(ROLLED_BACK.to_owned()),
            ..Self::merged(number, String::new())
        }
    }

    /// Whether it is [`DeliveryV1::rolled_back`].
    #[must_use]
    pub fn is_rollback(&self) -> bool {
        self.action.as_deref() == Some(ROLLED_BACK) && self.body_sha256.is_empty()
    }
}

/// An action that GitHub does not know.
const ROLLED_BACK: &str = "lockflight.rolled_back";

/// Who set a webhook off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The numeric id, which no other account ever has.
    pub id: u64,
    /// The login at that time.
    pub login: Login,
}

/// What a webhook says of a pull request. Nothing is decided by it but whether to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequestHint {
    /// Its number.
    pub number: PrNumber,
    /// Whether it is merged.
    pub merged: bool,
}

/// One step to carry out: make the branch, and open the pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromoteV1 {
    /// The change that is promoted.
    pub change: Change,
    /// The plan that the step is part of.
    pub plan: PlanId,
    /// The step.
    pub step: Step,
    /// Whether the second identity approves the pull request (`autoApprovePromotionPrs`).
    pub approve: bool,
    /// Whether somebody looks after the pull request once it is open, and merges it when its gates allow. Else it is merged as soon as may be,
    /// where the step says that it is merged at all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub attended: bool,
}

impl PromoteV1 {
    /// The same on another branch: that of a pull request that was taken over for it.
    #[must_use]
    pub fn on_branch(&self, branch: BranchName) -> Self {
        let mut other = self.clone();
        other.step.branch = branch;
        other
    }

    /// The message that has a step carried out, in the repository that it leads to. It follows from `cause`.
    #[must_use]
    pub fn message(cause: &Envelope, promote: Self) -> Envelope {
        let repo = promote.step.repo(&promote.change).clone();
        let of = promote.change.repo.id.to_string();
        let id = MessageId::of(&["promote", &of, promote.step.id.as_str()]);
        Envelope {
            repo,
            ..cause.follow(id, Body::Promote(Box::new(promote)))
        }
    }
}

/// A step whose pull request is open and is to be merged without a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeV1 {
    /// The step as it was carried out.
    pub promote: PromoteV1,
    /// Its pull request.
    pub number: PrNumber,
    /// The commit that it made: the only one that may be merged.
    pub commit: CommitOid,
}

/// Tell people about a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportV1 {
    /// The change.
    pub change: Change,
    /// What is to be said.
    pub report: Report,
}

/// What a person asks for. Who may is decided when it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandV1 {
    /// The pull request that it was written on.
    pub number: PrNumber,
    /// The head of that pull request when the command was first seen: it is done to nothing else.
    pub head: CommitOid,
    /// The comment, by its numeric id; none if a label asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<u64>,
    /// Who asks.
    pub by: Sender,
    /// When, in seconds since 1970 UTC.
    pub at_s: i64,
    /// What was written: the first line of the comment, or the name of the label.
    pub line: String,
    /// The context of the commit status that the policy has this line flip (`toggleCommitStatus`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toggle: Option<String>,
    /// The answer in Markdown, where all that is asked for is something that a planner knows; or why a planner can't have it done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What of the plan a rollback is about: [`crate::rollback::part`] of each component at its target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

/// What is to be said about a change on its own pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Report {
    /// The policy lets nothing go anywhere, and why.
    Nothing {
        /// One sentence for the status.
        reason: String,
    },
    /// Steps were planned. Waits until each has its pull request, then says so in the status.
    Steps {
        /// The plan.
        plan: PlanId,
        /// Its steps.
        steps: Vec<Step>,
        /// The flows that they follow, where those have gates or more than one wave: the steps of later waves are then yet to be sent. None
        /// named, all steps are on their way.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flows: Vec<PlannedFlow>,
        /// Whether a second identity approves the pull requests.
        #[serde(default, skip_serializing_if = "is_false")]
        approve: bool,
        /// Whether this is one look and no more, since another message waits for the end.
        #[serde(default, skip_serializing_if = "is_false")]
        once: bool,
        /// Whether there is no more waiting: a step without its pull request is then a failure.
        #[serde(default, skip_serializing_if = "is_false")]
        last: bool,
    },
    /// What would be done, had the policy not asked for a dry run.
    DryRun {
        /// How many pull requests there would have been.
        pull_requests: usize,
        /// The comment, in Markdown.
        comment: String,
    },
    /// What there is to say on a pull request that is still open.
    Preview(Box<Preview>),
    /// The policy can't be used, or a step had to stop: a comment and a failed status.
    Failed {
        /// The step that it is about; none if it is about the change as a whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// One sentence for the status.
        summary: String,
        /// The comment, in Markdown.
        comment: String,
    },
}

/// What is said on a pull request before it is merged: advice, which decides nothing.
///
/// It is said only as long as the pull request is as it was when this was made: the head, the branch and, where they matter, the labels of the
/// report's change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// One sentence.
    pub title: String,
    /// More of it, in Markdown.
    pub summary: String,
    /// Whether it is good.
    pub verdict: Verdict,
    /// What there is to say of lines of files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
    /// The comment, in Markdown; none where there is nothing that needs a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it may be another one with other labels.
    #[serde(default, skip_serializing_if = "is_false")]
    pub heeds_labels: bool,
}

/// Whether a change is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It will be promoted.
    Good,
    /// There is nothing to be promoted, or it can't be told.
    Nothing,
    /// The policy that it brings can't be used.
    Broken,
}

/// Something to say of a line of a file, at the head of the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong, or odd.
    pub message: String,
    /// Whether it is wrong.
    pub is_error: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde calls it")]
const fn is_zero(value: &usize) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde calls it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Something that happened, for the journal and those who follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// A delivery needed nothing.
    Ignored {
        /// Why.
        reason: String,
    },
    /// A plan was made of a change.
    Planned {
        /// The plan.
        plan: PlanId,
        /// The change's pull request.
        number: PrNumber,
        /// Its steps.
        steps: Vec<StepId>,
        /// How long the parts took.
        phases: Vec<Phase>,
    },
    /// The promotion branch is on the forge.
    BranchPushed {
        /// The step.
        step: StepId,
        /// The branch.
        branch: BranchName,
        /// Its commit.
        commit: CommitOid,
    },
    /// The promotion pull request is open, labelled and assigned.
    PullRequestOpened {
        /// The step.
        step: StepId,
        /// Its number.
        number: PrNumber,
        /// Where to read it.
        url: String,
        /// The pull request that caused it.
        source: PrNumber,
        /// Whether it had been there before this attempt.
        adopted: bool,
        /// Calls to the REST API that this attempt made.
        rest_calls: u32,
        /// How long the parts took.
        phases: Vec<Phase>,
    },
    /// The promotion pull request is merged.
    Merged {
        /// The step.
        step: StepId,
        /// Its number.
        number: PrNumber,
    },
    /// The target already has the content, or a later one: nothing was opened.
    NoChange {
        /// The step.
        step: StepId,
    },
    /// A person closed the promotion pull request: it is not opened again for the same content.
    Declined {
        /// The step.
        step: StepId,
        /// Its number.
        number: PrNumber,
    },
    /// A newer change towards the same targets brings all that the step would, so its pull request was closed, or never opened.
    Superseded {
        /// The step; none if it is not known here, being another change's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// Its pull request; none if it had none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<PrNumber>,
        /// The pull request of the newer change.
        by: PrNumber,
    },
    /// Something was said on a pull request.
    Reported {
        /// Its number.
        number: PrNumber,
        /// The state of the status.
        state: String,
        /// The status's sentence.
        description: String,
    },
    /// A person's command was carried out, or refused.
    Commanded {
        /// The pull request that it was written on.
        number: PrNumber,
        /// The command, as it was written.
        command: String,
        /// Who wrote it.
        by: Login,
        /// Whether it was done.
        done: bool,
    },
    /// A push is to be passed on.
    Forwarding {
        /// To how many endpoints.
        endpoints: usize,
        /// How many more the policy names, beyond what one push is passed on to.
        #[serde(default, skip_serializing_if = "is_zero")]
        left_out: usize,
    },
    /// A webhook was passed on, and taken.
    Forwarded {
        /// Where to, as scheme, host and port.
        to: String,
        /// The HTTP status that was answered, of 2xx.
        status: u16,
    },
    /// A webhook was not passed on, and will not be: it may not, or the endpoint does not want it.
    NotForwarded {
        /// Where it was to go, as scheme, host and port, where that can be told.
        to: String,
        /// The HTTP status that was answered, if any was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Why, for people.
        reason: String,
    },
    /// The work can't be done as it stands; people were told.
    Stopped {
        /// The pull request that it was about.
        number: PrNumber,
        /// Why, for people.
        reason: String,
    },
    /// An attempt failed and another follows.
    Retried {
        /// Why.
        reason: String,
        /// Milliseconds until then.
        after_ms: u64,
    },
    /// The last attempt failed; the message waits for a person.
    Parked {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// The name used in routing keys and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ignored { .. } => "ignored",
            Self::Planned { .. } => "planned",
            Self::BranchPushed { .. } => "branch_pushed",
            Self::PullRequestOpened { .. } => "pull_request_opened",
            Self::Merged { .. } => "merged",
            Self::NoChange { .. } => "no_change",
            Self::Declined { .. } => "declined",
            Self::Superseded { .. } => "superseded",
            Self::Reported { .. } => "reported",
            Self::Commanded { .. } => "commanded",
            Self::Forwarding { .. } => "forwarding",
            Self::Forwarded { .. } => "forwarded",
            Self::NotForwarded { .. } => "not_forwarded",
            Self::Stopped { .. } => "stopped",
            Self::Retried { .. } => "retried",
            Self::Parked { .. } => "parked",
        }
    }
}

/// How long a part of the work took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// The part: `fetch`, `commit`, `push`, `pull_request`, ...
    pub name: String,
    /// Milliseconds.
    pub ms: u64,
}

#[cfg(test)]
mod tests;
