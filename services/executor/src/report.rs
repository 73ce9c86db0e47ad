//! Tells people about a change, on its own pull request: one status, and a comment only where there is something to do.

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::{Done, Failure};
use lockflight_forge::port::ForgePort;
use lockflight_forge::{PullRequest, PullRequestState, StatusState};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::change::Change;
use lockflight_promotion::message::{Body, Envelope, Outcome, Report, ReportV1};
use lockflight_promotion::plan::Step;
use lockflight_promotion::progress::Seen;
use lockflight_promotion::text::comment::{self, CommentKind};
use lockflight_promotion::text::status;
use lockflight_promotion::text::waves::{self, Wave};
use lockflight_promotion::{CommitOid, ErrorClass, Login, MessageId, PrNumber};

use crate::look::Look;
use crate::restraint::{Decided, Restraint};
use crate::tell::{Word, tell};
use crate::{Executor, outcome};

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    pub(crate) async fn report(
        &self,
        envelope: &Envelope,
        report: &ReportV1,
        failures: u32,
        head: Option<CommitOid>,
    ) -> Result<Done, Failure> {
        let change = &report.change;
        let client = self.forge.repository(&change.repo).await?;
        let mut said = None;
        let word = match &report.report {
            Report::Nothing { reason } => Word::new(StatusState::Success, status::nothing(reason)),
            Report::DryRun {
                pull_requests,
                comment,
            } => {
                said = Some((CommentKind::DryRun, comment));
                Word::new(StatusState::Success, status::dry_run(*pull_requests)).with_summary(comment.clone())
            }
            Report::Failed {
                step,
                summary,
                comment,
            } => {
                let kind = step.as_ref().map_or(CommentKind::Failure, CommentKind::Step);
                said = Some((kind, comment));
                Word::new(StatusState::Failure, summary.as_str()).with_summary(comment.clone())
            }
            Report::Preview(preview) => {
                return self.preview(envelope, &client, change, preview).await;
            }
            Report::Steps { flows, .. } if !flows.is_empty() => {
                return self.drive(envelope, &client, report, head).await;
            }
            Report::Steps { steps, last, .. } => match self.unrestrained(&client, change, steps, head).await?
            {
                Progress::Settled { sentence, steps } => {
                    let summary = waves::summary(&sentence, &steps, None);
                    Word::new(StatusState::Success, sentence).with_summary(summary)
                }
                Progress::Stopped => return Ok(Done::Ack(Vec::new())),
                Progress::TakenBack(sentence) => Word::new(StatusState::Failure, sentence),
                Progress::Missing(missing) if !last && failures + 1 < self.config.max_attempts => {
                    let reason = format!("{missing} of {} steps have no pull request yet", steps.len());
                    return Err(Failure::new(ErrorClass::Retry, reason));
                }
                Progress::Missing(missing) => {
                    Word::new(StatusState::Failure, status::missing(missing, steps.len()))
                }
            },
        };
        let told = match said {
            Some((kind, comment)) => self.say(&client, change, kind, comment).await,
            None => Ok(()),
        };
        // Where a comment is not taken, as in a locked conversation, the status is all that can be said.
        if told
            .as_ref()
            .err()
            .is_none_or(|failure| failure.class == ErrorClass::User)
        {
            tell(&client, change, &word).await?;
        }
        told?;
        Ok(Done::Ack(vec![outcome(envelope, reported(change, &word))]))
    }

    /// How far those steps of a plan are that people have not left out. While a change is held and steps have no pull request, that is said,
    /// and the report comes again.
    async fn unrestrained(
        &self,
        client: &F::Repository,
        change: &Change,
        steps: &[Step],
        head: Option<CommitOid>,
    ) -> Result<Progress, Failure> {
        let progress = self.progress(change, steps, head.clone()).await?;
        if !matches!(progress, Progress::Missing(_)) {
            return Ok(progress);
        }
        let mut decided = Decided::default();
        let mut wanted = Vec::new();
        for step in steps {
            match self.restraint(change, step, &mut decided).await? {
                None => wanted.push(step.clone()),
                Some(Restraint::Skipped) => {}
                Some(Restraint::Held { why, wait }) => {
                    tell(client, change, &Word::new(StatusState::Pending, why.as_str())).await?;
                    return Err(Restraint::failure(why, wait));
                }
            }
        }
        if wanted.len() == steps.len() {
            return Ok(progress);
        }
        if let Some(rollback) = decided.taken_back(change, steps) {
            let sentence = format!("Rolled back {}", rollback.by_and_why());
            return Ok(Progress::TakenBack(status::fit(&sentence)));
        }
        self.progress(change, &wanted, head).await
    }

    /// How far the steps of a plan are, derived from the forge and from git alone. `head` is where the change's branch is, if the
    /// batch has fetched it.
    async fn progress(
        &self,
        change: &Change,
        steps: &[Step],
        head: Option<CommitOid>,
    ) -> Result<Progress, Failure> {
        let mut look = Look::new(self, change, head);
        let (mut found, mut superseded, mut told) = (Vec::new(), Vec::new(), Vec::new());
        let (mut missing, mut stopped) = (0, false);
        for step in steps {
            let sight = look.at(step).await?;
            if let Seen::Superseded { by } = sight.seen {
                superseded.push((by, status::destination(step)));
            }
            missing += usize::from(sight.seen == Seen::Unopened);
            stopped |= sight.seen == Seen::Stopped;
            told.push(Wave {
                flow: None,
                name: status::destination(step),
                how: String::new(),
                pull_requests: vec![how(change, step, &sight.seen)],
            });
            found.extend(sight.pull_request.map(|pull_request| (pull_request, step)));
        }
        Ok(match (missing, stopped) {
            (0, false) => Progress::Settled {
                sentence: sentence(&found, &superseded),
                steps: told,
            },
            // The step itself tells why, in a failed status that must stand.
            (0, true) => Progress::Stopped,
            (missing, _) => Progress::Missing(missing),
        })
    }

    /// Has exactly one comment of `kind` on the change's pull request, with this text.
    ///
    /// Nothing but the lock keeps another worker from writing it as well between our look and our writing.
    async fn say(
        &self,
        client: &F::Repository,
        change: &Change,
        kind: CommentKind<'_>,
        text: &str,
    ) -> Result<(), Failure> {
        self.comment_once(client, change.number, |ours| {
            self.wanted(change, kind, text, ours)
        })
        .await
    }

    pub(crate) async fn say_locked(
        &self,
        client: &F::Repository,
        guard: &L::Guard,
        us: &Login,
        change: &Change,
        kind: CommentKind<'_>,
        text: &str,
    ) -> Result<(), Failure> {
        self.comment_once_locked(client, guard, us, change.number, |ours| {
            self.wanted(change, kind, text, ours)
        })
        .await
    }

    /// Which of our comments is of that kind, and what it shall say.
    fn wanted(
        &self,
        change: &Change,
        kind: CommentKind<'_>,
        text: &str,
        ours: &[&str],
    ) -> (Option<usize>, String) {
        let (repo, number) = (change.repo.id, change.number);
        let place = comment::find(
            &self.config.marker_keys(),
            repo,
            number,
            kind,
            ours.iter().copied(),
        );
        (
            place,
            comment::wrap(&self.config.marker_key, repo, number, kind, text),
        )
    }
}

/// The last look at the steps of a plan whose report is given up: it tells how they are then, whatever that is. None if the report was of
/// something else, or was that look.
pub(crate) fn last_look(cause: &Envelope, report: &ReportV1) -> Option<Envelope> {
    let Report::Steps { last: false, .. } = &report.report else {
        return None;
    };
    let mut report = report.clone();
    if let Report::Steps { last, .. } = &mut report.report {
        *last = true;
    }
    let id = MessageId::of(&["last-look", cause.id.as_str()]);
    Some(cause.follow(id, Body::Report(Box::new(report))))
}

/// What the journal is told of what was said.
pub(crate) fn reported(change: &Change, word: &Word) -> Outcome {
    Outcome::Reported {
        number: change.number,
        state: format!("{:?}", word.state).to_lowercase(),
        description: status::fit(&word.sentence),
    }
}

/// How a step is, in a few words for people.
pub(crate) fn how(change: &Change, step: &Step, seen: &Seen) -> String {
    let called = |number: &PrNumber| change.name_of(&step.repo(change).name, *number);
    match seen {
        Seen::Merged { number, .. } => format!("{} merged", called(number)),
        Seen::Open { number } => format!("{} open", called(number)),
        Seen::Closed { number } => format!("{} closed by people", called(number)),
        Seen::Superseded { by } => format!("superseded by {}", called(by)),
        Seen::Carried => "there already".to_owned(),
        Seen::Skipped => "left out".to_owned(),
        Seen::Stopped => "can't be done, see the comment".to_owned(),
        Seen::Unopened => "yet to be opened".to_owned(),
    }
}

enum Progress {
    /// Every step that needs a pull request has one; the sentence says how they are.
    Settled { sentence: String, steps: Vec<Wave> },
    /// A step can't be done; it says so itself.
    Stopped,
    /// All steps were taken back; the sentence says by whom.
    TakenBack(String),
    /// So many steps should have a pull request and have none.
    Missing(usize),
}

/// How the pull requests of a plan are: what is open matters most, then what people closed, then what newer changes carry on.
fn sentence(found: &[(PullRequest, &Step)], superseded: &[(PrNumber, String)]) -> String {
    let those = |is: fn(&PullRequest) -> bool| -> Vec<(PrNumber, String)> {
        let those = found.iter().filter(|(pull_request, _)| is(pull_request));
        those
            .map(|(pull_request, step)| (pull_request.number, status::destination(step)))
            .collect()
    };
    let open = those(|pull_request| pull_request.state == PullRequestState::Open);
    let declined =
        those(|pull_request| pull_request.state == PullRequestState::Closed && !pull_request.merged);
    let automatic = found.iter().all(|(_, step)| step.auto_merge);
    if !open.is_empty() && automatic {
        status::opened_to_merge(&open)
    } else if !open.is_empty() {
        status::opened(&open)
    } else if !declined.is_empty() {
        status::declined(&declined)
    } else if !superseded.is_empty() {
        status::superseded(superseded)
    } else if !found.is_empty() {
        status::merged(&those(|_| true))
    } else {
        status::nothing("every target already has this content")
    }
}
