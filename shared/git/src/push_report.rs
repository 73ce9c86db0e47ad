//! What is reported of a push, and what that means for each branch.
//!
//! There are two who report: the `git` program by its porcelain, and the server itself (`wire/push.rs`). Either's words are those of git's sources.

use crate::push::{PushError, PushOutcome, RefUpdate};
use crate::transport_error::excerpt;

/// What is reported of one ref (git-push(1), "OUTPUT").
#[derive(Debug)]
pub(crate) struct Reported {
    /// The server itself says no more than that it did what it was told (a space) or not (`!`).
    pub(crate) flag: char,
    /// The full name of the ref at the remote.
    pub(crate) reference: String,
    /// Such as `[rejected] (stale info)`.
    pub(crate) summary: String,
}

/// All that is reported of a push.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) refs: Vec<Reported>,
    /// What the server wrote for people, without the `remote:` before each line.
    pub(crate) server: String,
}

impl Report {
    /// Reads `git push --porcelain`.
    pub(crate) fn parse(stdout: &str, stderr: &str) -> Self {
        let refs = stdout
            .lines()
            .filter_map(|line| {
                let mut fields = line.splitn(3, '\t');
                let flag = fields.next()?;
                let reference = fields.next()?.rsplit_once(':')?.1;
                Some(Reported {
                    flag: flag.chars().next()?,
                    reference: reference.to_owned(),
                    summary: fields.next()?.to_owned(),
                })
            })
            .collect();
        let server: Vec<&str> = stderr
            .lines()
            .filter_map(|line| line.strip_prefix("remote:"))
            .collect();
        Self {
            refs,
            server: excerpt(&server.join("\n")),
        }
    }
}

/// Reasons for a rejection that mean: the ref is not what was expected. From git's remote.c, send-pack.c, receive-pack.c and
/// refs/files-backend.c.
const MOVED: [&str; 13] = [
    "stale info",
    "fetch first",
    "non-fast-forward",
    "needs force",
    "already exists",
    "remote ref updated since checkout",
    "remote ref does not exist",
    "failed to update ref",
    "cannot lock ref",
    "failed to lock",
    "incorrect old value provided",
    "reference does not exist",
    // The server does not know the commit that the branch was expected at.
    "bad ref",
];

/// Reasons for a rejection that are the server's own trouble.
const TROUBLE: [&str; 5] = [
    "remote failure",
    "internal server error",
    "unpacker error",
    "missing necessary objects",
    "failed to write",
];

/// What the report says of one branch.
#[derive(Debug)]
pub(crate) enum Verdict {
    Done(PushOutcome),
    /// To be told apart by where the branch is; git's words.
    Elsewhere(String),
    /// Left as it is, because another branch of the same push could not be moved.
    HeldUp,
}

/// What became of one branch, as far as the report tells.
pub(crate) fn verdict(update: &RefUpdate, report: &Report) -> Result<Verdict, PushError> {
    let reference = format!("refs/heads/{}", update.branch);
    let Some(reported) = report
        .refs
        .iter()
        .find(|reported| reported.reference == reference)
    else {
        return Err(PushError::NotTaken {
            branch: update.branch.clone(),
            reason: "it was not reported on".to_owned(),
        });
    };
    Ok(match reported.flag {
        '=' => Verdict::Done(PushOutcome::AlreadyThere),
        '-' if update.expected.is_none() => Verdict::Done(PushOutcome::AlreadyThere),
        ' ' | '+' | '*' | '-' => Verdict::Done(PushOutcome::Pushed),
        // "atomic push failed" from git itself, "atomic push failure" and "atomic transaction failed" from the server.
        _ if reported.summary.contains("atomic ") => Verdict::HeldUp,
        _ if TROUBLE
            .iter()
            .any(|text| reported.summary.to_lowercase().contains(text)) =>
        {
            return Err(PushError::NotTaken {
                branch: update.branch.clone(),
                reason: reason(&reported.summary, &report.server),
            });
        }
        _ if MOVED.iter().any(|text| reported.summary.contains(text)) => {
            Verdict::Elsewhere(reported.summary.clone())
        }
        _ => Verdict::Done(PushOutcome::Refused {
            reason: reason(&reported.summary, &report.server),
        }),
    })
}

/// What git and the server said of one branch.
pub(crate) fn reason(summary: &str, server: &str) -> String {
    let summary = excerpt(summary);
    if server.is_empty() {
        summary
    } else {
        format!("{summary}: {server}")
    }
}

#[cfg(test)]
mod tests {
    use lockflight_promotion::{BranchName, CommitOid, ErrorClass};

    use super::*;

    fn update() -> RefUpdate {
        RefUpdate {
            branch: BranchName::parse("p").unwrap(),
            expected: CommitOid::parse("1".repeat(40)).ok(),
            new: CommitOid::parse("2".repeat(40)).ok(),
        }
    }

    fn judged(line: &str) -> Result<Verdict, PushError> {
        let stderr =
            "remote: error: GH006: Protected branch update failed for refs/heads/p.        \nerror: failed";
        let stdout = format!("To https://h/a/b\n{line}\nDone\n");
        verdict(&update(), &Report::parse(&stdout, stderr))
    }

    #[test]
    fn each_answer_of_a_server_has_its_outcome() {
        let refs = "2222222222222222222222222222222222222222:refs/heads/p";
        for (flag, outcome) in [
            (' ', PushOutcome::Pushed),
            ('+', PushOutcome::Pushed),
            ('*', PushOutcome::Pushed),
            ('=', PushOutcome::AlreadyThere),
        ] {
            let verdict = judged(&format!("{flag}\t{refs}\twhatever"));
            assert!(
                matches!(&verdict, Ok(Verdict::Done(done)) if *done == outcome),
                "{flag}: {verdict:?}"
            );
        }
        for moved in [
            "[rejected] (stale info)",
            "[rejected] (fetch first)",
            "[rejected] (non-fast-forward)",
            "[remote rejected] (failed to update ref)",
            "[remote rejected] (cannot lock ref 'refs/heads/p': is at 3 but expected 1)",
            "[remote rejected] (incorrect old value provided)",
            "[remote rejected] (reference already exists)",
            "[remote rejected] (reference does not exist)",
            "[remote rejected] (bad ref)",
        ] {
            let verdict = judged(&format!("!\t{refs}\t{moved}"));
            assert!(
                matches!(verdict, Ok(Verdict::Elsewhere(_))),
                "{moved}: {verdict:?}"
            );
        }
        for refused in [
            "[remote rejected] (protected branch hook declined)",
            "[remote rejected] (push declined due to repository rule violations)",
            "[remote rejected] (pre-receive hook declined)",
            "[remote rejected] (deny updating a hidden ref)",
        ] {
            let verdict = judged(&format!("!\t{refs}\t{refused}"));
            assert!(
                matches!(&verdict, Ok(Verdict::Done(PushOutcome::Refused { reason })) if reason.contains("GH006")),
                "{refused}: {verdict:?}"
            );
        }
        for held_up in [
            "[rejected] (atomic push failed)",
            "[remote rejected] (atomic push failure)",
            "[remote rejected] (atomic transaction failed)",
        ] {
            let verdict = judged(&format!("!\t{refs}\t{held_up}"));
            assert!(matches!(verdict, Ok(Verdict::HeldUp)), "{held_up}: {verdict:?}");
        }
        for trouble in [
            "[remote failure] (remote failed to report status)",
            "[remote rejected] (Internal Server Error)",
        ] {
            let error = judged(&format!("!\t{refs}\t{trouble}")).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Retry, "{trouble}");
        }
        assert!(judged("").is_err(), "a ref that is not reported on");
    }
}
