//! Moving branches of the remote, each under a compare-and-swap.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use lockflight_promotion::{BranchName, CommitOid, ErrorClass, Lease, LeaseExpired};

use crate::mirror::Mirror;
use crate::read::{self, ReadError};
use crate::transport_error::{TransportError, excerpt};

/// One branch to move, and where it has to be for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// The branch.
    pub branch: BranchName,
    /// Where the branch has to be; `None`: it must not exist.
    pub expected: Option<CommitOid>,
    /// Where it shall be; `None`: it shall be gone.
    pub new: Option<CommitOid>,
}

/// What became of one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum PushOutcome {
    /// It was where it was expected and is now where it shall be.
    Pushed,
    /// It was where it shall be already, whatever was expected.
    AlreadyThere,
    /// It was not where it was expected, and was left as it is.
    Moved {
        /// Where it is; `None`: it does not exist.
        actual: Option<CommitOid>,
    },
    /// The server's rules do not allow it.
    Refused {
        /// What the server said.
        reason: String,
    },
}

/// A push of which it is not known what became. Doing it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The lock of the repository is not held. Nothing was pushed.
    #[error("nothing was pushed, because the repository's lock is not held")]
    Lease(#[from] LeaseExpired),
    /// Two updates name one branch. Nothing was pushed.
    #[error("branch {0} is named twice in one push")]
    NamedTwice(BranchName),
    /// A commit to push is not here. Nothing was pushed.
    #[error("a commit that was to be pushed cannot be read")]
    Read(#[from] ReadError),
    /// The remote could not be talked to.
    #[error("the push failed; whether the server took it is not known")]
    Transport(#[from] TransportError),
    /// The server did not take an update although the branch was where it was expected: another push was under way, or its disk failed.
    #[error("the server did not move branch {branch}, though it is where it was expected: {reason}")]
    NotTaken {
        /// The branch.
        branch: BranchName,
        /// What was said.
        reason: String,
    },
}

impl PushError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Lease(LeaseExpired::Late { .. }) | Self::NotTaken { .. } => ErrorClass::Retry,
            Self::Lease(LeaseExpired::OtherRepository { .. }) | Self::NamedTwice(_) => ErrorClass::Bug,
            Self::Read(error) => error.class(),
            Self::Transport(error) => error.class(),
        }
    }
}

/// What git reports of one ref (git-push(1), "OUTPUT").
#[derive(Debug)]
pub(crate) struct Reported {
    pub(crate) flag: char,
    /// The full name of the ref at the remote.
    pub(crate) reference: String,
    /// Such as `[rejected] (stale info)`.
    pub(crate) summary: String,
}

/// All that git reports of a push.
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
const MOVED: [&str; 11] = [
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
];

/// Reasons for a rejection that are the server's own trouble.
const TROUBLE: [&str; 5] = [
    "remote failure",
    "internal server error",
    "unpacker error",
    "missing necessary objects",
    "failed to write",
];

#[derive(Debug)]
enum Verdict {
    Done(PushOutcome),
    /// To be told apart by where the branch is.
    Elsewhere(String),
}

impl Mirror {
    /// Moves branches of the remote, each on its own, each only from where it is expected. The outcomes are in the order of
    /// `updates`.
    ///
    /// Killing or dropping this may leave a push under way at the server, so "it was not there when I looked" proves nothing; the
    /// next compare-and-swap does.
    ///
    /// # Errors
    /// When the lease is not of this repository or over, a commit is not here, or the server cannot be reached.
    #[tracing::instrument(skip_all, fields(repo = %self.repo(), lock.fence = lease.fence().0))]
    pub async fn push(&self, lease: &Lease, updates: &[RefUpdate]) -> Result<Vec<PushOutcome>, PushError> {
        if updates.is_empty() {
            return Ok(Vec::new());
        }
        let mut seen = BTreeSet::new();
        for update in updates {
            if !seen.insert(&update.branch) {
                return Err(PushError::NamedTwice(update.branch.clone()));
            }
        }
        let commits: Vec<CommitOid> = updates.iter().filter_map(|update| update.new.clone()).collect();
        self.read(move |repo| {
            for commit in &commits {
                read::root_tree(repo, commit)?;
            }
            Ok::<_, ReadError>(())
        })
        .await?;

        let report = {
            let _turn = self.slot.turn.lock().await;
            let transport = &self.shared.transport;
            let pushed = transport
                .push(&self.slot.dir, &self.remote, lease, self.repo(), updates)
                .await;
            if !matches!(pushed, Err(PushError::Lease(_))) {
                self.slot.usage.pushes.fetch_add(1, Ordering::Relaxed);
            }
            pushed?
        };
        let verdicts: Vec<Verdict> = updates
            .iter()
            .map(|update| verdict(update, &report))
            .collect::<Result<_, _>>()?;
        self.settle(updates, verdicts, &report).await
    }

    /// Looks where the branches are that were not where they were expected.
    async fn settle(
        &self,
        updates: &[RefUpdate],
        verdicts: Vec<Verdict>,
        report: &Report,
    ) -> Result<Vec<PushOutcome>, PushError> {
        let unclear: Vec<BranchName> = updates
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::Elsewhere(_)))
            .map(|(update, _)| update.branch.clone())
            .collect();
        let heads = if unclear.is_empty() {
            Default::default()
        } else {
            self.remote_branches(&unclear).await?
        };
        updates
            .iter()
            .zip(verdicts)
            .map(|(update, verdict)| {
                let summary = match verdict {
                    Verdict::Done(outcome) => return Ok(outcome),
                    Verdict::Elsewhere(summary) => summary,
                };
                let actual = heads.get(update.branch.as_str()).cloned();
                if actual == update.new {
                    return Ok(PushOutcome::AlreadyThere);
                }
                if actual != update.expected {
                    return Ok(PushOutcome::Moved { actual });
                }
                let reason = reason(&summary, &report.server);
                // Such as a branch `a` that leaves no room for `a/b`.
                if reason.contains("cannot create") {
                    return Ok(PushOutcome::Refused { reason });
                }
                Err(PushError::NotTaken {
                    branch: update.branch.clone(),
                    reason,
                })
            })
            .collect()
    }
}

fn verdict(update: &RefUpdate, report: &Report) -> Result<Verdict, PushError> {
    let reference = format!("refs/heads/{}", update.branch);
    let Some(reported) = report
        .refs
        .iter()
        .find(|reported| reported.reference == reference)
    else {
        return Err(PushError::NotTaken {
            branch: update.branch.clone(),
            reason: "git did not report on it".to_owned(),
        });
    };
    Ok(match reported.flag {
        '=' => Verdict::Done(PushOutcome::AlreadyThere),
        '-' if update.expected.is_none() => Verdict::Done(PushOutcome::AlreadyThere),
        ' ' | '+' | '*' | '-' => Verdict::Done(PushOutcome::Pushed),
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

fn reason(summary: &str, server: &str) -> String {
    let summary = excerpt(summary);
    if server.is_empty() {
        summary
    } else {
        format!("{summary}: {server}")
    }
}

#[cfg(test)]
mod tests {
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
