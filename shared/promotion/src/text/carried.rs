//! The comment on a change in which it stands which pull requests of older changes were taken over for its steps.
//!
//! Its first line is signed and bound to the repository and the pull request. What follows is for people, and is never read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::page::Page;
use super::seal::{MarkerKey, is_sealed};
use super::words;
use super::{LIMIT, markdown};
use crate::plan::Step;
use crate::{PrNumber, RepoId, RepoName, TrackId};

const DOMAIN: &str = "lockflight:carried:v1";
const OPEN: &str = "<!-- lockflight:carried:v1 ";
const CLOSE: &str = " -->";
const CUT: &str = "**Cut here:** GitHub takes no longer text.";
/// The most steps that are told: what is signed has to fit beside what people read.
const LIMIT_OF_STEPS: usize = 200;

/// A pull request that was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The pull request.
    pub number: PrNumber,
    /// Its repository, if that is another one than the change's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoName>,
    /// What it leads to, for people.
    pub to: String,
}

impl Carried {
    /// That of a step.
    #[must_use]
    pub fn of(step: &Step, number: PrNumber) -> Self {
        Self {
            number,
            repo: step.repo.as_ref().map(|repo| repo.name.clone()),
            to: markdown::cut(&words::plain_destination(step), 50).into_owned(),
        }
    }
}

/// The pull requests that were taken over for the steps of one change, by the track of each.
pub type ByTrack = BTreeMap<TrackId, Carried>;

/// The comment as it is to be posted. Never longer than GitHub allows; more than 200 steps are not told.
#[must_use]
pub fn write(key: &MarkerKey, repo: RepoId, number: PrNumber, carried: &ByTrack) -> String {
    let told: BTreeMap<_, _> = carried.iter().take(LIMIT_OF_STEPS).collect();
    // All of it is strings and numbers, so it is always JSON.
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&told).unwrap_or_default());
    let seal = key.seal(
        DOMAIN,
        &fields(&repo_bytes(repo), &number_bytes(number), &payload),
    );
    let line = format!("{OPEN}{payload} {seal}{CLOSE}\n");
    let mut page = Page::new(LIMIT.saturating_sub(line.len()), CUT, "");
    let rows = told.values().map(|carried| {
        let repo = carried.repo.as_ref().map(RepoName::to_string).unwrap_or_default();
        format!("- {repo}#{} to {}", carried.number, markdown::text(&carried.to))
    });
    page.rows(
        "**Carried** by open pull requests of older changes, which were brought up to this one:\n\n",
        rows,
        "",
    );
    line + &page.finish()
}

/// Whether a comment is this one, or was.
#[must_use]
pub fn is_carried(body: &str) -> bool {
    body.starts_with(OPEN)
}

/// Reads it from the bodies of our own comments on the pull request of the change. What is not as we wrote it counts as nothing.
#[must_use]
pub fn read<'b>(
    keys: &[MarkerKey],
    repo: RepoId,
    number: PrNumber,
    bodies: impl IntoIterator<Item = &'b str>,
) -> ByTrack {
    bodies
        .into_iter()
        .filter_map(|body| read_one(keys, repo, number, body))
        .flatten()
        .collect()
}

fn read_one(keys: &[MarkerKey], repo: RepoId, number: PrNumber, body: &str) -> Option<ByTrack> {
    let line = body.lines().next()?.trim_end();
    let (payload, seal) = line.strip_prefix(OPEN)?.strip_suffix(CLOSE)?.split_once(' ')?;
    let (repo, number) = (repo_bytes(repo), number_bytes(number));
    if !is_sealed(keys, DOMAIN, &fields(&repo, &number, payload), seal) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

const fn repo_bytes(repo: RepoId) -> [u8; 8] {
    repo.get().to_be_bytes()
}

const fn number_bytes(number: PrNumber) -> [u8; 8] {
    number.get().to_be_bytes()
}

const fn fields<'f>(repo: &'f [u8], number: &'f [u8], payload: &'f str) -> [&'f [u8]; 3] {
    [repo, number, payload.as_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: RepoId = RepoId::new(7);
    const NUMBER: PrNumber = PrNumber::new(12);

    fn key(secret: &str) -> MarkerKey {
        MarkerKey::derive(secret.as_bytes())
    }

    fn carried(count: u64) -> ByTrack {
        let carried = |number| {
            let track = TrackId::parse(format!("{number:064x}")).unwrap();
            let carried = Carried {
                number: PrNumber::new(number),
                repo: None,
                to: "a place with | and @someone in its name, fifty long".to_owned(),
            };
            (track, carried)
        };
        (1..=count).map(carried).collect()
    }

    #[test]
    fn what_is_carried_is_read_as_it_was_written() {
        let body = write(&key("a"), REPO, NUMBER, &carried(3));
        assert_eq!(
            read(&[key("b"), key("a")], REPO, NUMBER, ["hello", &body]),
            carried(3)
        );
        let said = body.lines().nth(1).unwrap();
        assert_eq!(
            said,
            "**Carried** by open pull requests of older changes, which were brought up to this one:"
        );
        assert!(body.contains("\n- #2 to "), "{body}");
        assert!(is_carried(&body));
    }

    #[test]
    fn what_was_edited_or_copied_counts_as_nothing() {
        let body = write(&key("a"), REPO, NUMBER, &carried(3));
        let other = write(&key("a"), REPO, NUMBER, &carried(2));
        let payload = |body: &str| body.split(' ').nth(2).unwrap().to_owned();
        let mixed = body.replace(&payload(&body), &payload(&other));
        for (keys, number, body) in [
            (vec![key("a")], PrNumber::new(13), &body),
            (vec![key("b")], NUMBER, &body),
            (vec![key("a")], NUMBER, &mixed),
        ] {
            assert_eq!(
                read(&keys, REPO, number, [body.as_str()]),
                ByTrack::new(),
                "{body}"
            );
        }
    }

    #[test]
    fn very_many_steps_fit_into_a_comment() {
        let body = write(&key("a"), REPO, NUMBER, &carried(1_000));
        assert!(body.len() <= LIMIT, "{}", body.len());
        assert_eq!(
            read(&[key("a")], REPO, NUMBER, [body.as_str()]).len(),
            LIMIT_OF_STEPS
        );
    }
}
