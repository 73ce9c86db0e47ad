//! What a bump is called: its branch, its commit and its pull request. They are those of Telefonistka, but for the branch.

use std::fmt::Write as _;

use lockflight_promotion::text::markdown;
use lockflight_promotion::{BranchName, CommitOid, InvalidId, PathInRepo, RepoName, TraceParent};
use sha2::{Digest as _, Sha256};

/// The trailer by which a commit of ours is known.
const TRAILER: &str = "Bumped-From: ";

/// What the first line of a body begins with. A person may write below it.
const BODY: &str = "Bumping version triggered by ";

/// The most characters of a title; GitHub takes 256.
const MAX_TITLE: usize = 250;

/// Where a new version comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) repo: String,
    pub(super) commit: Option<String>,
    pub(super) trace: Option<TraceParent>,
}

/// The branch: always the same for one source repository, one file and one way to change it.
pub(super) fn branch(origin: &str, path: &PathInRepo, edit: &str) -> Result<BranchName, InvalidId> {
    let digest = Sha256::digest(format!(
        "lockflight:bump:{}\n{path}\n{edit}",
        origin.to_lowercase()
    ));
    let hex = digest.iter().take(6).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    });
    let readable: String = origin
        .chars()
        .take(100)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    BranchName::parse(format!("artifact_version_bump/{readable}/{hex}"))
}

pub(super) fn title(origin: &Origin, path: &PathInRepo) -> String {
    let title = format!("{}🚠 Bumping version @ {path}", markdown::one_line(&origin.repo));
    if title.chars().count() <= MAX_TITLE {
        return title;
    }
    let cut: String = title.chars().take(MAX_TITLE - 1).collect();
    format!("{cut}…")
}

/// The first line of the pull request's description.
fn first_line(origin: &Origin) -> String {
    // A reference that GitHub draws as a link, if it is one; else words without effect.
    let is_reference = RepoName::parse(&origin.repo).is_ok()
        && origin
            .commit
            .as_ref()
            .is_none_or(|commit| CommitOid::parse(commit).is_ok());
    let from = match &origin.commit {
        Some(commit) => format!("{}@{commit}", origin.repo),
        None => origin.repo.clone(),
    };
    let from = if is_reference { from } else { markdown::text(&from) };
    format!("{BODY}{from}")
}

/// The description, with what people wrote below our line.
pub(super) fn body(origin: &Origin, before: Option<&str>) -> String {
    let line = first_line(origin);
    match before {
        None => line,
        Some(before) => match before.split_once('\n') {
            Some((first, rest)) if first.starts_with(BODY) => format!("{line}\n{rest}"),
            None if before.starts_with(BODY) => line,
            _ => format!("{line}\n\n{before}"),
        },
    }
}

pub(super) fn message(origin: &Origin, path: &PathInRepo) -> String {
    let mut message = format!(
        "Bumping version @ {}\n\n{TRAILER}",
        markdown::plain(path.as_str())
    );
    message.push_str(&markdown::one_line(&origin.repo));
    if let Some(commit) = &origin.commit {
        message.push('@');
        message.push_str(&markdown::one_line(commit));
    }
    message.push('\n');
    if let Some(trace) = &origin.trace {
        message.push_str("Traceparent: ");
        message.push_str(trace.as_str());
        message.push('\n');
    }
    message
}

/// Whether a commit on the branch of a bump was made by a bump of the same repository.
pub(super) fn is_ours(message: &str, origin: &str) -> bool {
    let from = markdown::one_line(origin);
    message.lines().any(|line| {
        line.strip_prefix(TRAILER)
            .and_then(|rest| rest.get(..from.len()).map(|repo| (repo, rest.get(from.len()..))))
            .is_some_and(|(repo, rest)| {
                repo.eq_ignore_ascii_case(&from)
                    && rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('@'))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(repo: &str, commit: Option<&str>) -> Origin {
        Origin {
            repo: repo.to_owned(),
            commit: commit.map(str::to_owned),
            trace: None,
        }
    }

    #[test]
    fn a_branch_is_that_of_repository_file_and_key() {
        let file = PathInRepo::parse("a/values.yaml").unwrap();
        let one = branch("acme/shop", &file, "overwrite").unwrap();
        assert!(
            one.as_str().starts_with("artifact_version_bump/acme-shop/"),
            "{one}"
        );
        assert_eq!(one, branch("acme/shop", &file, "overwrite").unwrap());
        let other_file = PathInRepo::parse("b/values.yaml").unwrap();
        for other in [
            branch("acme/cart", &file, "overwrite"),
            branch("acme/shop", &other_file, "overwrite"),
            branch("acme/shop", &file, "key\nimage.tag"),
        ] {
            assert_ne!(one, other.unwrap());
        }
        for odd in ["..", "a b/.lock", "group/sub/project", "ü"] {
            assert!(branch(odd, &file, "overwrite").is_ok(), "{odd}");
        }
    }

    #[test]
    fn a_commit_of_ours_is_known_by_its_trailer() {
        let file = PathInRepo::parse("a/values.yaml").unwrap();
        let message = message(&origin("acme/shop", Some("abc")), &file);
        assert_eq!(
            message,
            "Bumping version @ a/values.yaml\n\nBumped-From: acme/shop@abc\n"
        );
        assert!(is_ours(&message, "acme/shop"));
        assert!(!is_ours(&message, "acme/sho"));
        assert!(!is_ours(&message, "acme/shop2"));
        assert!(!is_ours("Bumping version @ a/values.yaml", "acme/shop"));
    }

    #[test]
    fn a_name_with_a_line_end_adds_no_trailer() {
        let file = PathInRepo::parse("a").unwrap();
        let message = message(&origin("a\nTraceparent: x", Some("b\nc: d")), &file);
        assert_eq!(message.lines().count(), 3, "{message}");
    }

    #[test]
    fn what_people_wrote_below_our_line_stays() {
        let new = origin("acme/shop", Some("b"));
        let line = first_line(&new);
        assert_eq!(body(&new, None), line);
        let old = format!("{}\n\nPlease look.", first_line(&origin("acme/shop", Some("a"))));
        assert_eq!(body(&new, Some(&old)), format!("{line}\n\nPlease look."));
        assert_eq!(body(&new, Some("Mine.")), format!("{line}\n\nMine."));
        assert_eq!(body(&new, Some(&line)), line);
    }
}
