//! The message of the commit that a promotion branch consists of.

use super::markdown;
use super::words::{count, list};
use crate::change::Change;
use crate::plan::Step;

/// The most characters of the first line.
const SUBJECT_LIMIT: usize = 100;
/// The most targets that are listed.
const TARGETS: usize = 20;

/// The commit message of `step` of `change`, in git's form: subject, body, trailers.
///
/// It is made of `change` and `step` alone, and of nothing in them that people change lightly after the merge (titles, for one): a retry
/// must make the same commit, and planning anew should.
/// Names with line ends can't add trailers, and names with `@` or `#` mention nobody and close nothing.
#[must_use]
pub fn message(change: &Change, step: &Step) -> String {
    let promotion = change.promotion();
    let mut targets: Vec<String> = step
        .targets
        .iter()
        .take(TARGETS)
        .map(|target| {
            if target.path.is_root() {
                format!("- {}", markdown::plain(target.branch.as_str()))
            } else {
                format!("- {}", markdown::plain(target.path.as_str()))
            }
        })
        .collect();
    if step.targets.len() > TARGETS {
        targets.push(format!("- and {} more", step.targets.len() - TARGETS));
    }
    let does = match &change.rollback {
        Some(_) => format!("Brings back what stood before pull request {}, at", change.number),
        None => format!("Promotes what pull request {} merged, to", change.number),
    };
    format!(
        "{}\n\n{does}:\n{}\n\nPromotion-Id: {promotion}\nPromoted-From: {}@{}\nTraceparent: {}\n",
        subject(change, step),
        targets.join("\n"),
        change.repo.name,
        change.merged_as,
        promotion.traceparent(step.id.as_str()),
    )
}

/// ``Syncing from `source`: components``, with as many words as fit.
fn subject(change: &Change, step: &Step) -> String {
    let syncing = match &change.rollback {
        Some(_) => "Rolling back from",
        None => "Syncing from",
    };
    let source = markdown::plain(&step.source).replace('`', "'");
    let names = list(step.components.iter().map(|name| markdown::plain(name)), 5);
    let full = format!("{syncing} `{source}`: {names}");
    if full.chars().count() <= SUBJECT_LIMIT {
        return full;
    }
    let counted = count(step.components.len(), "component", "components");
    let short = format!("{syncing} `{source}`: {counted}");
    if short.chars().count() <= SUBJECT_LIMIT {
        return short;
    }
    let room = SUBJECT_LIMIT.saturating_sub(short.chars().count() - source.chars().count());
    format!("{syncing} `{}`: {counted}", markdown::cut(&source, room))
}
