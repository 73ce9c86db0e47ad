//! Comments that are edited in place: each kind stands at most once on a pull request.

use std::fmt;

use super::markdown;
use super::seal::{MarkerKey, is_sealed};
use crate::{PrNumber, RepoId, StepId};

const DOMAIN: &str = "lockflight:comment:v1";
const OPEN: &str = "<!-- lockflight:comment:";
const CLOSE: &str = " -->";

/// What a comment is about. A pull request has at most one comment of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommentKind<'a> {
    /// [`super::dry_run()`].
    DryRun,
    /// [`super::preview()`]: what needs a person before a change is merged.
    Preview,
    /// [`super::failure::policy`], or another failure of the change as a whole.
    Failure,
    /// [`super::failure::step`]: the failures of two steps must not overwrite each other.
    Step(&'a StepId),
    /// The plan that somebody asked for with the label `show-plan`.
    Plan,
    /// [`super::superseded::closed`]: the word on a promotion pull request that a newer one brings all that it would.
    Superseded,
    /// The answer to the command in the comment with this id.
    Reply(u64),
}

impl fmt::Display for CommentKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DryRun => f.write_str("dry-run"),
            Self::Preview => f.write_str("preview"),
            Self::Failure => f.write_str("failure"),
            Self::Step(step) => write!(f, "step-{step}"),
            Self::Plan => f.write_str("plan"),
            Self::Superseded => f.write_str("superseded"),
            Self::Reply(comment) => write!(f, "reply-{comment}"),
        }
    }
}

/// The hidden line that a comment of this kind on this pull request begins with, without a line end.
#[must_use]
pub fn tag(key: &MarkerKey, repo: RepoId, number: PrNumber, kind: CommentKind<'_>) -> String {
    let kind = kind.to_string();
    let seal = key.seal(DOMAIN, &fields(&repo_bytes(repo), &number_bytes(number), &kind));
    format!("{OPEN}{kind} {seal}{CLOSE}")
}

/// The comment as it is to be posted: its tag, then `text`. Never longer than GitHub allows; `text` from this module fits as it is.
#[must_use]
pub fn wrap(key: &MarkerKey, repo: RepoId, number: PrNumber, kind: CommentKind<'_>, text: &str) -> String {
    format!(
        "{}\n{}",
        tag(key, repo, number, kind),
        markdown::cut(text, super::LIMIT)
    )
}

/// The place of the first comment of this kind among `bodies`, which are the comments of the pull request, oldest first.
///
/// Who can read a comment can copy its tag, though only within the same pull request. Give the bodies of comments that
/// our own account wrote, and no others.
#[must_use]
pub fn find<'b>(
    keys: &[MarkerKey],
    repo: RepoId,
    number: PrNumber,
    kind: CommentKind<'_>,
    bodies: impl IntoIterator<Item = &'b str>,
) -> Option<usize> {
    bodies
        .into_iter()
        .position(|body| is_ours(keys, repo, number, kind, body))
}

/// Whether the comment begins with the tag of this kind and pull request, signed with any of `keys`. See [`find`].
#[must_use]
pub fn is_ours(
    keys: &[MarkerKey],
    repo: RepoId,
    number: PrNumber,
    kind: CommentKind<'_>,
    body: &str,
) -> bool {
    let kind = kind.to_string();
    let line = body.lines().next().unwrap_or_default().trim_end();
    line.strip_prefix(OPEN)
        .and_then(|rest| rest.strip_prefix(kind.as_str()))
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(|rest| rest.strip_suffix(CLOSE))
        .is_some_and(|seal| {
            let (repo, number) = (repo_bytes(repo), number_bytes(number));
            is_sealed(keys, DOMAIN, &fields(&repo, &number, &kind), seal)
        })
}

const fn repo_bytes(repo: RepoId) -> [u8; 8] {
    repo.get().to_be_bytes()
}

const fn number_bytes(number: PrNumber) -> [u8; 8] {
    number.get().to_be_bytes()
}

const fn fields<'f>(repo: &'f [u8], number: &'f [u8], kind: &'f str) -> [&'f [u8]; 3] {
    [repo, number, kind.as_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> MarkerKey {
        MarkerKey::derive(secret.as_bytes())
    }

    const REPO: RepoId = RepoId::new(7);
    const NUMBER: PrNumber = PrNumber::new(12);

    #[test]
    fn a_comment_is_found_again_by_its_kind_and_place() {
        let ours = wrap(&key("a"), REPO, NUMBER, CommentKind::DryRun, "Dry run.");
        let keys = [key("b"), key("a")];
        let find = |kind, number, bodies: &[&str]| find(&keys, REPO, number, kind, bodies.iter().copied());
        assert_eq!(
            find(CommentKind::DryRun, NUMBER, &["hello", &ours, &ours]),
            Some(1)
        );
        let saved_by_a_browser = ours.replace('\n', "\r\n");
        assert_eq!(find(CommentKind::DryRun, NUMBER, &[&saved_by_a_browser]), Some(0));
        assert_eq!(find(CommentKind::Preview, NUMBER, &[&ours]), None);
        assert_eq!(find(CommentKind::DryRun, PrNumber::new(13), &[&ours]), None);
        assert_eq!(
            find(CommentKind::DryRun, NUMBER, &[&format!("> {ours}"), ""]),
            None
        );
    }

    #[test]
    fn a_tag_of_another_key_or_a_changed_tag_is_not_ours() {
        let ours = wrap(&key("a"), REPO, NUMBER, CommentKind::Failure, "x");
        let last = ours.find(CLOSE).unwrap() - 1;
        let mut changed = ours.clone();
        let other = if changed.as_bytes()[last] == b'0' {
            "1"
        } else {
            "0"
        };
        changed.replace_range(last..=last, other);
        for (keys, body) in [
            (vec![key("c")], &ours),
            (vec![key("a")], &changed),
            (vec![], &ours),
        ] {
            assert_eq!(
                find(&keys, REPO, NUMBER, CommentKind::Failure, [body.as_str()]),
                None,
                "{body}"
            );
        }
    }

    #[test]
    fn failures_of_two_steps_are_two_comments() {
        let [one, two] = ["1", "2"].map(|d| StepId::parse(d.repeat(64)).unwrap());
        assert_ne!(
            tag(&key("a"), REPO, NUMBER, CommentKind::Step(&one)),
            tag(&key("a"), REPO, NUMBER, CommentKind::Step(&two))
        );
    }
}
