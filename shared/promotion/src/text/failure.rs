//! What people are told when nothing, or not everything, can be promoted.

use super::links::Links;
use super::page::Page;
use super::words::{self, count, list, path};
use super::{LIMIT, markdown, status};
use crate::StepId;
use crate::change::Change;
use crate::message::Report;
use crate::plan::Step;
use crate::policy::PolicyErrors;

const CUT: &str = "**Cut here:** GitHub takes no longer text.";

/// A failure in the two lengths that people meet it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step that stopped; none if it is about the change as a whole.
    pub step: Option<StepId>,
    /// One sentence for the commit status, at most [`status::LIMIT`] characters.
    pub summary: String,
    /// The comment, in Markdown, without its tag (see [`super::comment::wrap`]). At most [`LIMIT`] bytes.
    pub comment: String,
}

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        Self::Failed {
            step: failure.step,
            summary: failure.summary,
            comment: failure.comment,
        }
    }
}

/// The policy at the merge commit of `change` can't be used.
#[must_use]
pub fn policy(change: &Change, errors: &PolicyErrors, links: &Links) -> Failure {
    let mut page = Page::new(LIMIT, CUT, "");
    let how_many = count(errors.iter().count(), "error", "errors");
    page.block(&format!(
        "**Nothing was promoted:** the policy has {how_many} at {}.",
        markdown::code(&change.merged_as.as_str().chars().take(12).collect::<String>()),
    ));
    let rows = errors.iter().map(|error| {
        format!(
            "- [{}]({}): {}",
            markdown::code(&format!("{}:{}:{}", error.file, error.line, error.column)),
            links.line(&change.repo.name, &change.merged_as, &error.file, error.line),
            markdown::text(&markdown::cut(&error.message, 1_000)),
        )
    });
    page.rows("", rows, "");
    page.block(&format!(
        "Correct it on {} with a pull request of its own. What was merged here is promoted whole with the next change to the \
         same components; `lockflight validate` finds such errors before a merge.",
        markdown::code(change.branch.as_str()),
    ));
    Failure {
        step: None,
        summary: status::policy_broken(errors),
        comment: page.finish(),
    }
}

/// Nothing of a change can be promoted because of `reason`, a sentence in plain text that says what to do.
#[must_use]
pub fn change(reason: &str) -> Failure {
    let mut page = Page::new(LIMIT, CUT, "");
    page.block("**Nothing was promoted**, and it needs a person.");
    page.block(&format!("Why: {}", markdown::text(&markdown::cut(reason, 4_000))));
    page.block(
        "Mend what it names, then press Redeliver on the webhook delivery of this pull request's merge.",
    );
    Failure {
        step: None,
        summary: status::fit(&format!("Nothing was promoted: {reason}")),
        comment: page.finish(),
    }
}

/// `step` had to stop because of `reason`; `remedy` says what a person can do about it. Both are sentences, and plain text.
#[must_use]
pub fn step(step: &Step, reason: &str, remedy: &str) -> Failure {
    let mut page = Page::new(LIMIT, CUT, "");
    page.block(&format!(
        "**The promotion to {} stopped** and needs a person.",
        words::destination(step)
    ));
    page.block(&format!(
        "Why: {}\n\nWhat to do: {}",
        markdown::text(&markdown::cut(reason, 4_000)),
        markdown::text(&markdown::cut(remedy, 4_000)),
    ));
    page.block(&format!(
        "It would have brought {} from {} to {}. Other promotions of this change are not affected.",
        words::components(step),
        markdown::code(&step.source),
        list(step.targets.iter().map(|target| path(&target.path)), 20),
    ));
    Failure {
        step: Some(step.id.clone()),
        summary: status::stopped(step, reason),
        comment: page.finish(),
    }
}
