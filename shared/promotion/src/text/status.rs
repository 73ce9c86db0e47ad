//! The one sentence on the commit status of a change.
//!
//! Every sentence has at most [`LIMIT`] characters, also counted in UTF-16 units as some parts of GitHub do. Statuses are
//! not Markdown: names stand as they are, without control characters.

use super::markdown;
use super::words::{count, plain_destination};
use crate::PrNumber;
use crate::change::Change;
use crate::plan::Step;
use crate::policy::PolicyErrors;

/// The context of the status.
pub const CONTEXT: &str = "lockflight/promotion";

/// The context of the status of a change, or of what takes it back: the first rollback of a change has its own, and each further one too.
#[must_use]
pub fn context(change: &Change) -> String {
    match change.rollback.as_ref().map(|back| back.place) {
        None => CONTEXT.to_owned(),
        Some(0) => ROLLBACK.to_owned(),
        Some(place) => format!("{ROLLBACK}-{}", place + 1),
    }
}

/// The context of the status of a rollback.
pub const ROLLBACK: &str = "lockflight/rollback";

/// The most characters of a description:
/// <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status> refuses longer ones.
pub const LIMIT: usize = 140;

/// The most characters of one description in a list, so that a long one does not crowd out the others.
const NAME_LIMIT: usize = 50;

/// What a step leads to, in a few words: the name that the policy gives, else the first path. For [`opened`] and [`merged`].
#[must_use]
pub fn destination(step: &Step) -> String {
    markdown::cut(&plain_destination(step), NAME_LIMIT).into_owned()
}

/// Nothing goes anywhere. `reason` completes "Nothing to promote: ".
#[must_use]
pub fn nothing(reason: &str) -> String {
    fit(&format!("Nothing to promote: {reason}"))
}

/// The pull requests are there: each with what it leads to.
#[must_use]
pub fn opened<D: AsRef<str>>(pull_requests: &[(PrNumber, D)]) -> String {
    let end = if pull_requests.len() == 1 {
        "; waiting for its review"
    } else {
        "; waiting for their review"
    };
    listed("Opened", pull_requests, end)
}

/// The pull requests are there, and merged without a person as soon as the forge allows.
#[must_use]
pub fn opened_to_merge<D: AsRef<str>>(pull_requests: &[(PrNumber, D)]) -> String {
    listed("Opened", pull_requests, "; merged as soon as checks allow")
}

/// Of `all` steps, `missing` have no pull request, though their time is over.
#[must_use]
pub fn missing(missing: usize, all: usize) -> String {
    let what = count(all, "promotion pull request", "promotion pull requests");
    fit(&format!("{missing} of {what} could not be opened"))
}

/// All pull requests of the change are merged.
#[must_use]
pub fn merged<D: AsRef<str>>(pull_requests: &[(PrNumber, D)]) -> String {
    listed("Merged", pull_requests, "")
}

/// No pull request of the change is open, and these were closed by people.
#[must_use]
pub fn declined<D: AsRef<str>>(pull_requests: &[(PrNumber, D)]) -> String {
    listed("Closed by people", pull_requests, "; not opened again")
}

/// Newer changes carry on what this one would have brought, each by its pull request.
#[must_use]
pub fn superseded<D: AsRef<str>>(pull_requests: &[(PrNumber, D)]) -> String {
    listed("Superseded by", pull_requests, "")
}

/// What a dry run would have opened.
#[must_use]
pub fn dry_run(pull_requests: usize) -> String {
    let what = count(pull_requests, "promotion pull request", "promotion pull requests");
    fit(&format!("Dry run: would open {what}"))
}

/// The policy can't be used.
#[must_use]
pub fn policy_broken(errors: &PolicyErrors) -> String {
    let more = match errors.iter().count() {
        0 | 1 => String::new(),
        all => format!(" (and {} more)", all - 1),
    };
    fit_before(&format!("Policy error at {}", errors.first()), &more)
}

/// A step had to stop.
#[must_use]
pub fn stopped(step: &Step, reason: &str) -> String {
    fit(&format!("Promotion to {} stopped: {reason}", destination(step)))
}

/// What stood before a change is back in these waves; in none, since it stood there.
#[must_use]
pub fn taken_back(waves: &[String]) -> String {
    match waves {
        [] => {
            "Nothing to roll back: every target has what stood before; held until /promote release".to_owned()
        }
        waves => fit_before(
            &format!("Rolled back {}", waves.join(", ")),
            "; held until /promote release",
        ),
    }
}

/// Any sentence, on one line and cut to what a status can hold.
#[must_use]
pub fn fit(sentence: &str) -> String {
    fit_before(sentence, "")
}

/// The sentence and, never cut, an end.
fn fit_before(sentence: &str, end: &str) -> String {
    let sentence = markdown::one_line(sentence);
    let room = LIMIT.saturating_sub(units(end));
    if units(&sentence) <= room {
        return sentence + end;
    }
    let mut short = String::new();
    let mut used = 1;
    for c in sentence.chars() {
        used += c.len_utf16();
        if used > room {
            break;
        }
        short.push(c);
    }
    let kept = short.trim_end().len();
    short.truncate(kept);
    short + "…" + end
}

/// `Opened #12 lab, #13 staging and 4 more`, with as many as fit.
fn listed<D: AsRef<str>>(verb: &str, pull_requests: &[(PrNumber, D)], end: &str) -> String {
    let names: Vec<String> = pull_requests
        .iter()
        .map(|(number, description)| {
            let description = markdown::one_line(description.as_ref());
            let name = format!("#{number} {}", markdown::cut(&description, NAME_LIMIT));
            name.trim_end().to_owned()
        })
        .collect();
    (1..=names.len())
        .rev()
        .map(|kept| {
            let shown = names.get(..kept).unwrap_or_default().join(", ");
            let more = match names.len() - kept {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{verb} {shown}{more}{end}")
        })
        .find(|sentence| units(sentence) <= LIMIT)
        .unwrap_or_else(|| {
            let what = count(names.len(), "promotion pull request", "promotion pull requests");
            fit(&format!("{verb} {what}{end}"))
        })
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
