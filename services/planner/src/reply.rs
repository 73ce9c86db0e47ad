//! The messages that a plan turns into, with ids that are a function of their content.

use std::time::Instant;

use lockflight_promotion::MessageId;
use lockflight_promotion::change::Change;
use lockflight_promotion::message::{Body, Envelope, Outcome, PromoteV1, Report, ReportV1};
use lockflight_promotion::plan::Plan;
use lockflight_promotion::policy::PolicyErrors;
use lockflight_promotion::text::{self, Links};

/// What a plan turns into: its steps and a report on them, or the reason why there are none.
pub(crate) fn messages(cause: &Envelope, change: &Change, plan: Plan) -> Vec<Envelope> {
    if plan.dry_run {
        let comment = text::dry_run(change, &plan);
        return vec![report(
            cause,
            change,
            Report::DryRun {
                pull_requests: plan.steps.len(),
                comment,
            },
        )];
    }
    if plan.steps.is_empty() {
        return vec![report(
            cause,
            change,
            Report::Nothing {
                reason: why_nothing(change, &plan),
            },
        )];
    }
    if !plan.flows.is_empty() {
        // Whoever looks how far the steps are also sends them, each when its wave begins.
        return vec![report(cause, change, steps(plan, false))];
    }
    let mut messages: Vec<Envelope> = plan
        .steps
        .iter()
        .map(|step| {
            let (plan, approve) = (plan.id.clone(), plan.approve);
            PromoteV1::message(
                cause,
                PromoteV1 {
                    change: change.clone(),
                    plan,
                    step: step.clone(),
                    approve,
                    attended: false,
                },
            )
        })
        .collect();
    messages.push(report(cause, change, steps(plan, false)));
    messages
}

/// Another look at how far the steps of a plan are, where something may have to follow from that.
pub(crate) fn another_look(cause: &Envelope, change: &Change, plan: Plan) -> Option<Envelope> {
    let waits = !plan.dry_run && !plan.steps.is_empty() && !plan.flows.is_empty();
    waits.then(|| report(cause, change, steps(plan, true)))
}

/// How far the steps of a plan are. With `once`, a look and no more.
pub(crate) fn steps(plan: Plan, once: bool) -> Report {
    Report::Steps {
        flows: plan.flows,
        plan: plan.id,
        steps: plan.steps,
        approve: plan.approve,
        once,
        last: false,
    }
}

/// Something to say about a change.
pub(crate) fn report(cause: &Envelope, change: &Change, report: Report) -> Envelope {
    // All that is said is part of the id: one report may stand for an equal one, and for no other.
    let (repo, number, said) = (
        change.repo.id.to_string(),
        change.number.to_string(),
        format!("{report:?}"),
    );
    let id = MessageId::of(&["report", &repo, &number, change.merged_as.as_str(), &said]);
    let report = Body::Report(Box::new(ReportV1 {
        change: change.clone(),
        report,
    }));
    // What set it off may be of another repository.
    Envelope {
        repo: change.repo.clone(),
        ..cause.follow(id, report)
    }
}

/// Something for the journal.
pub(crate) fn outcome(cause: &Envelope, outcome: Outcome) -> Envelope {
    let id = MessageId::of(&[outcome.name(), cause.id.as_str()]);
    cause.follow(id, Body::Outcome(outcome))
}

/// What people read when a policy file can't be used.
pub(crate) fn broken_policy(change: &Change, errors: &PolicyErrors, links: &Links) -> Report {
    text::failure::policy(change, errors, links).into()
}

/// What people read when the change can't be planned as things stand, for a reason that they can mend.
pub(crate) fn unreadable(reason: &str) -> Report {
    text::failure::change(reason).into()
}

/// Why a plan has no steps; completes "Nothing to promote: ".
pub(crate) fn why_nothing(change: &Change, plan: &Plan) -> String {
    if plan.matched_paths == 0 && change.lineage.origin.is_some() {
        "no flow leads on from here, the change is at the end of its way".to_owned()
    } else if plan.matched_paths == 0 {
        "no changed file lies in a component of any flow".to_owned()
    } else if plan.skipped.is_empty() {
        "every target already has this content".to_owned()
    } else {
        format!(
            "policy keeps it from {} targets, and the others already have it",
            plan.skipped.len()
        )
    }
}

/// Milliseconds since `started`.
pub(crate) fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
