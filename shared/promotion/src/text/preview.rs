//! What people read on a pull request before it is merged: where it will go, and what needs them.

use super::drift::{DriftReport, found};
use super::links::Links;
use super::page::Page;
use super::plan::planned;
use super::{LIMIT, markdown, status};
use crate::change::Change;
use crate::message::{Preview, Remark, Verdict};
use crate::plan::{Plan, Step};
use crate::policy::{PolicyError, PolicyErrors};

const CUT: &str = "**Cut here:** GitHub takes no longer text.";

/// The name of the check run and the context of the status.
pub const CONTEXT: &str = "lockflight/preview";

/// The most remarks of a preview.
const MOST_REMARKS: usize = 200;

/// What is written in place of a comment that has nothing to say any more.
pub const SETTLED: &str = "**Preview:** nothing needs anybody any more.\n";

/// What a preview is made of.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The change, as if its head were merged.
    pub change: &'a Change,
    /// Where it would go.
    pub plan: &'a Plan,
    /// Why it goes nowhere, where it does not; completes "Nothing to promote: ".
    pub nothing: &'a str,
    /// The policy file, where the change itself brings another policy, so that the plan is made by that one.
    pub own_policy: Option<&'a str>,
    /// Where targets differ from their sources apart from the change.
    pub drift: &'a DriftReport,
    /// What is odd in the policy files that the change brings.
    pub warnings: &'a [PolicyError],
    /// Whether it may be another plan with other labels.
    pub heeds_labels: bool,
}

/// Where a change will go, and what needs a person.
#[must_use]
pub fn preview(planned: &Planned<'_>, links: &Links) -> Preview {
    let Planned {
        plan,
        own_policy,
        drift,
        ..
    } = planned;
    let goes = !plan.steps.is_empty();
    let mut page = Page::new(LIMIT, CUT, "");
    write(&mut page, planned, links);
    let needs_a_person = !drift.drifts.is_empty() || own_policy.is_some();
    Preview {
        title: title(planned),
        summary: page.finish(),
        verdict: if goes { Verdict::Good } else { Verdict::Nothing },
        remarks: remarks(planned.warnings, false),
        comment: needs_a_person.then(|| {
            let mut page = Page::new(LIMIT, CUT, "");
            write(&mut page, planned, links);
            page.finish()
        }),
        heeds_labels: planned.heeds_labels,
    }
}

/// The policy files that a change brings can't be used.
#[must_use]
pub fn broken(change: &Change, errors: &PolicyErrors, links: &Links) -> Preview {
    let mut page = Page::new(LIMIT, CUT, "");
    page.block(
        "**The policy of this pull request can't be used.** Merged as it is, it would stop all promotions.",
    );
    let rows = errors.iter().map(|error| {
        format!(
            "- [{}]({}): {}",
            markdown::code(&format!("{}:{}:{}", error.file, error.line, error.column)),
            links.line(&change.repo.name, &change.head, &error.file, error.line),
            markdown::text(&markdown::cut(&error.message, 1_000)),
        )
    });
    page.rows("", rows, "");
    let text = page.finish();
    Preview {
        title: status::policy_broken(errors),
        summary: text.clone(),
        verdict: Verdict::Broken,
        remarks: remarks(errors.iter(), true),
        comment: Some(text),
        heeds_labels: false,
    }
}

/// It can't be told where a change will go, for a reason that is none of its own.
#[must_use]
pub fn unknown(reason: &str) -> Preview {
    let title = status::fit(&format!("Where it goes can't be told yet: {reason}"));
    let summary = format!(
        "Where it goes can't be told yet: {}\n",
        markdown::text(&markdown::cut(reason, 4_000))
    );
    Preview {
        title,
        summary,
        verdict: Verdict::Nothing,
        remarks: Vec::new(),
        comment: None,
        heeds_labels: false,
    }
}

fn write(page: &mut Page, planned_as: &Planned<'_>, links: &Links) {
    if let Some(file) = planned_as.own_policy {
        page.block(&format!(
            "This pull request changes the policy. What follows is by **its own** {}, which counts once it is merged.",
            markdown::code(file)
        ));
    }
    planned(page, planned_as.plan, false, None);
    if !planned_as.drift.drifts.is_empty() {
        found(page, planned_as.drift, links);
    }
}

/// Who is waited for, and what comes next.
fn title(planned: &Planned<'_>) -> String {
    let plan = planned.plan;
    let mut sentence = if plan.dry_run && !plan.steps.is_empty() {
        status::dry_run(plan.steps.len())
    } else if plan.steps.is_empty() {
        status::nothing(planned.nothing)
    } else {
        format!("Waiting to be merged; then goes to {}", way(plan))
    };
    if !planned.drift.drifts.is_empty() {
        let drifted = planned.drift.drifts.len();
        let targets = if drifted == 1 {
            "1 target has"
        } else {
            "targets have"
        };
        let many = if drifted == 1 {
            String::new()
        } else {
            format!("{drifted} ")
        };
        sentence = format!("Drift: {many}{targets} content of its own. {sentence}");
    } else if planned.own_policy.is_some() {
        sentence = format!("By its own policy: {sentence}");
    }
    status::fit(&sentence)
}

/// `Lab and Tools, then Production`.
fn way(plan: &Plan) -> String {
    let mut waves: Vec<(usize, Vec<String>)> = Vec::new();
    let mut steps: Vec<&Step> = plan.steps.iter().collect();
    steps.sort_by_key(|step| step.wave);
    for step in steps {
        let name = status::destination(step);
        match waves.last_mut().filter(|(wave, _)| *wave == step.wave) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => waves.push((step.wave, vec![name])),
        }
    }
    let waves: Vec<String> = waves.into_iter().map(|(_, names)| names.join(", ")).collect();
    waves.join(", then ")
}

fn remarks<'e>(errors: impl IntoIterator<Item = &'e PolicyError>, are_errors: bool) -> Vec<Remark> {
    errors
        .into_iter()
        .take(MOST_REMARKS)
        .map(|error| Remark {
            file: error.file.clone(),
            line: u32::try_from(error.line.max(1)).unwrap_or(u32::MAX),
            message: error.message.clone(),
            is_error: are_errors,
        })
        .collect()
}
