//! Does what people ask for in comments, if they may, and says so.
//!
//! A comment gets eyes at once, and a rocket or a confused face at the end: who finds one of the latter of ours has nothing left to do, so a
//! delivery that comes twice does nothing twice. Between the two, each effect is found again by what it left: a decision by the id of the
//! comment in the sealed controls, an answer by its tag, a flipped status by the comment that its description names, a new plan by the id of
//! its message.
//!
//! Who may is asked of the forge when the command is done, and by the numeric id of the account: a login may have passed to another.

use lockflight_fleet::worker::{Done, Failure};
use lockflight_fleet::{LockGuard as _, RepoLock, failpoint};
use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{Comment, PullRequest, ReactionKind, Status, StatusState};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::command::{self, Command, Control, Mistake, Parsed, Role};
use lockflight_promotion::control::{Controls, ControlsRead};
use lockflight_promotion::message::{Body, CommandV1, DeliveryV1, Envelope, Outcome};
use lockflight_promotion::text::comment::{self, CommentKind};
use lockflight_promotion::text::marker::{self, MarkerRead};
use lockflight_promotion::text::{controls, markdown, status};
use lockflight_promotion::{ErrorClass, Login, MessageId, PrNumber};

use crate::waves::look_back;
use crate::{Executor, outcome};

/// What came of a command.
enum Verdict {
    /// It was done; what follows from it.
    Done(Vec<Envelope>),
    /// It was answered, and this is the answer.
    Answered(String),
    /// It was not done, for this reason, in Markdown.
    Refused(String),
}

/// What a command works with.
struct Desk<'d, R, G> {
    envelope: &'d Envelope,
    command: &'d CommandV1,
    client: &'d R,
    guard: &'d G,
    us: &'d Login,
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    pub(crate) async fn command(&self, envelope: &Envelope, command: &CommandV1) -> Result<Done, Failure> {
        let client = self.forge.repository(&envelope.repo).await?;
        let us = self.forge.identity().await?.login;
        if let Some(comment) = command.comment {
            let ours: Vec<ReactionKind> = client
                .reactions(comment)
                .await?
                .into_iter()
                .filter(|reaction| reaction.author == us)
                .map(|reaction| reaction.kind)
                .collect();
            if ours.contains(&ReactionKind::Rocket) || ours.contains(&ReactionKind::Confused) {
                return Ok(Done::Ack(Vec::new()));
            }
            if !ours.contains(&ReactionKind::Eyes) {
                react(&client, comment, ReactionKind::Eyes).await?;
            }
        }
        failpoint::reached("executor.commanded");
        let guard = self.lock.acquire(client.id()).await?;
        let desk = Desk {
            envelope,
            command,
            client: &client,
            guard: &guard,
            us: &us,
        };
        let done = self.under_lock(&desk).await;
        crate::release(guard).await;
        let (done, mut follow) = done?;
        if let Some(comment) = command.comment {
            let kind = if done {
                ReactionKind::Rocket
            } else {
                ReactionKind::Confused
            };
            react(&client, comment, kind).await?;
        }
        let commanded = Outcome::Commanded {
            number: command.number,
            command: markdown::cut(&command.line, command::LINE_LIMIT).into_owned(),
            by: command.by.login.clone(),
            done,
        };
        follow.push(outcome(envelope, commanded));
        Ok(Done::Ack(follow))
    }

    /// Does it, and says what has to be said; whether it was done, and what follows.
    async fn under_lock(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
    ) -> Result<(bool, Vec<Envelope>), Failure> {
        let (done, follow, text) = match self.judge(desk).await? {
            Verdict::Done(follow) => (true, follow, None),
            Verdict::Answered(text) => (true, Vec::new(), Some(text)),
            Verdict::Refused(text) => (false, Vec::new(), Some(text)),
        };
        if let Some(text) = text {
            let number = desk.command.number;
            let kind = desk.command.comment.map_or(CommentKind::Plan, CommentKind::Reply);
            let repo = desk.client.id();
            let body = comment::wrap(&self.config.marker_key, repo, number, kind, &text);
            let ours = self.our_comments(desk, number).await?;
            let bodies = ours.iter().map(|comment| comment.body.as_str());
            let found = comment::find(&self.config.marker_keys(), repo, number, kind, bodies)
                .and_then(|place| ours.get(place));
            self.write_comment(desk, number, found, &body).await?;
        }
        Ok((done, follow))
    }

    async fn judge(&self, desk: &Desk<'_, F::Repository, L::Guard>) -> Result<Verdict, Failure> {
        let command = desk.command;
        // Whoever puts a label on has the right to: GitHub saw to that.
        if let (None, Some(answer)) = (command.comment, &command.answer) {
            return Ok(Verdict::Answered(answer.clone()));
        }
        let asked = match command::parse(&command.line, command.toggle.as_deref()) {
            Parsed::Command(asked) => asked,
            Parsed::Mistake(Mistake(sentence)) => return Ok(Verdict::Refused(sentence)),
            // It was one when it was sent.
            Parsed::Nothing => return Ok(Verdict::Refused("This is no command any more.".to_owned())),
        };
        if let Some(refused) = lacks(desk.client, command, asked.needs()).await? {
            return Ok(Verdict::Refused(refused));
        }
        let pull_request = desk.client.pull_request(command.number).await?;
        if pull_request.head != command.head && !asked.only_asks() {
            return Ok(Verdict::Refused(format!(
                "The pull request has moved from {} to {} since this was written, so it was not done. Look at what came, and write \
                 it again.",
                short(command.head.as_str()),
                short(pull_request.head.as_str()),
            )));
        }
        let change = match self.promoted(desk, &pull_request) {
            Ok(number) if number == command.number => pull_request.clone(),
            Ok(number) => desk.client.pull_request(number).await?,
            Err(elsewhere) => return Ok(Verdict::Refused(elsewhere)),
        };
        match asked {
            Command::Help => Ok(Verdict::Answered(
                command.answer.clone().unwrap_or_else(|| command::help([])),
            )),
            Command::Explain { .. } => Ok(Verdict::Answered(command.answer.clone().unwrap_or_else(|| {
                "There is nothing to explain: Lockflight could not read where this pull request goes."
                    .to_owned()
            }))),
            Command::Status => self.state(desk, &change).await,
            Command::Replan => {
                let (read, _) = self.read_controls(desk, change.number).await?;
                Ok(self.plan_anew(desk, &change, &read))
            }
            Command::Retry => {
                let (read, _) = self.read_controls(desk, change.number).await?;
                Ok(match read.hindrance(self.now_s()) {
                    Some(hindrance) => Verdict::Refused(format!(
                        "{}. `/promote release` goes before a retry.",
                        markdown::text(&hindrance.sentence())
                    )),
                    None => self.plan_anew(desk, &change, &read),
                })
            }
            Command::Toggle { context } => self.toggle(desk, &pull_request, &context).await,
            Command::Control(Control::Rollback { .. }) if command.answer.is_some() => {
                Ok(Verdict::Refused(command.answer.clone().unwrap_or_default()))
            }
            Command::Control(Control::Rollback { .. }) if !change.merged => Ok(Verdict::Refused(format!(
                "#{} is not merged, so there is nothing to roll back.",
                change.number
            ))),
            Command::Control(Control::Rollback { target, reason, .. }) => {
                let parts = command.parts.clone();
                let control = Control::Rollback {
                    target,
                    parts,
                    reason,
                };
                self.decide(desk, &change, &control).await
            }
            Command::Control(control) => self.decide(desk, &change, &control).await,
        }
    }

    /// The change that a pull request is about: itself, or that which it promotes. Else where to go instead.
    fn promoted(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
        pull_request: &PullRequest,
    ) -> Result<PrNumber, String> {
        let own = desk.client.id();
        // Once it is merged, what counts is where it goes from there. A fork's branch may bear the name of one of ours.
        let is_from_here = pull_request.head_repo.as_ref().is_some_and(|head| head.id == own);
        if pull_request.merged || !is_from_here {
            return Ok(pull_request.number);
        }
        let keys = self.config.marker_keys();
        let read = marker::read(&keys, own, &pull_request.head_branch, &pull_request.body);
        let MarkerRead::Valid(marker) = read else {
            return Ok(pull_request.number);
        };
        let Some(hop) = marker.lineage.hops.last() else {
            return Ok(pull_request.number);
        };
        match &hop.repo {
            Some(repo) if repo.id != own => Err(format!(
                "What this pull request promotes was merged in another repository: write it on {}.",
                markdown::code(&format!("{}#{}", repo.name, hop.number)),
            )),
            _ => Ok(hop.number),
        }
    }

    async fn state(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
        change: &PullRequest,
    ) -> Result<Verdict, Failure> {
        let (read, _) = self.read_controls(desk, change.number).await?;
        let checks = desk.client.checks(&change.head).await?;
        let stands = checks.named(status::CONTEXT);
        let sentence = stands.and_then(|check| check.title.as_deref());
        Ok(Verdict::Answered(controls::status(
            &read,
            change.number,
            sentence,
            self.now_s(),
        )))
    }

    /// Has a planner plan the change as if its merge had just been told.
    fn plan_anew(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
        change: &PullRequest,
        read: &ControlsRead,
    ) -> Verdict {
        if change.merged {
            Verdict::Done(looks(
                desk.envelope,
                desk.command,
                change.number,
                read.holds_targets(),
            ))
        } else {
            Verdict::Refused(format!(
                "#{} is not merged: it is planned when it is.",
                change.number
            ))
        }
    }

    /// Flips a commit status.
    async fn toggle(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
        pull_request: &PullRequest,
        context: &str,
    ) -> Result<Verdict, Failure> {
        let stands = desk.client.status(&pull_request.head, context).await?;
        // What an earlier attempt has flipped is not flipped back.
        let mark = format!("Comment {}: ", desk.command.comment.unwrap_or_default());
        if stands
            .as_ref()
            .is_some_and(|status| status.description.starts_with(&mark))
        {
            return Ok(Verdict::Done(Vec::new()));
        }
        let (state, word) = match stands.as_ref().map(|status| status.state) {
            Some(StatusState::Success) => (StatusState::Failure, "failure"),
            Some(StatusState::Failure) => (StatusState::Success, "success"),
            Some(StatusState::Error | StatusState::Pending) | None => {
                return Ok(Verdict::Refused(format!(
                    "The commit status {} is neither success nor failure at {}, so there is nothing to flip.",
                    markdown::code(context),
                    short(pull_request.head.as_str()),
                )));
            }
        };
        let description = format!("{mark}set to {word} by {}", desk.command.by.login);
        let status = Status {
            state,
            context: context.to_owned(),
            description: status::fit(&description),
            target_url: stands.and_then(|status| status.target_url),
        };
        self.check(desk)?;
        desk.client.set_status(&pull_request.head, &status).await?;
        failpoint::reached("executor.toggled");
        Ok(Verdict::Done(Vec::new()))
    }

    /// Writes down what a person decided.
    async fn decide(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
        change: &PullRequest,
        control: &Control,
    ) -> Result<Verdict, Failure> {
        let command = desk.command;
        let comment = command.comment.unwrap_or_default();
        let (read, stands) = self.read_controls(desk, change.number).await?;
        let next = match &read {
            ControlsRead::Absent => Controls::default().apply(control, comment, &command.by, command.at_s),
            ControlsRead::Valid(controls) => controls.apply(control, comment, &command.by, command.at_s),
            ControlsRead::Forged => Controls::apply_to_forged(control, comment, &command.by, command.at_s),
        };
        let next = match next {
            Ok(next) => next,
            Err(refused) => {
                return Ok(Verdict::Refused(format!("It was not done: {refused}.")));
            }
        };
        let next_read = ControlsRead::Valid(Box::new(next.clone()));
        let holds = next_read.holds_targets();
        if holds {
            // Found before it holds, so that nobody misses it.
            self.check(desk)?;
            let merged_as = change.merge_commit.as_ref();
            self.tell_hold(desk.client, change.number, merged_as).await?;
            failpoint::reached("executor.holding");
        }
        if read != next_read {
            let key = &self.config.marker_key;
            let body = controls::write(key, desk.client.id(), change.number, &next);
            // One of several that can't be believed would make all of them so.
            let rewritten = if read == ControlsRead::Forged {
                stands.len()
            } else {
                1
            };
            for place in 0..rewritten {
                self.write_comment(desk, change.number, stands.get(place), &body)
                    .await?;
            }
            failpoint::reached("executor.decided");
        }
        tracing::info!(
            pr.number = %change.number, user.id = command.by.id,
            "{} decided on pull request {} of {}: {}", command.by.login, change.number, desk.envelope.repo.name,
            markdown::one_line(&command.line),
        );
        if !holds && (!next.rollbacks.is_empty() || read == ControlsRead::Forged) {
            self.check(desk)?;
            self.tell_hold(desk.client, change.number, None).await?;
        }
        // A planner has another look taken, which finds what was decided.
        Ok(Verdict::Done(if change.merged {
            looks(desk.envelope, command, change.number, !next.rollbacks.is_empty())
        } else {
            Vec::new()
        }))
    }

    /// What people have decided about a change, and the comments in which that stands: one, unless the lock was lost once.
    async fn read_controls(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
        number: PrNumber,
    ) -> Result<(ControlsRead, Vec<Comment>), Failure> {
        let mut ours = self.our_comments(desk, number).await?;
        ours.retain(|comment| controls::is_controls(&comment.body));
        let bodies = ours.iter().map(|comment| comment.body.as_str());
        let read = controls::read(&self.config.marker_keys(), desk.client.id(), number, bodies);
        Ok((read, ours))
    }

    async fn our_comments(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
        number: PrNumber,
    ) -> Result<Vec<Comment>, Failure> {
        let mut comments = desk.client.comments(number).await?;
        comments.retain(|comment| comment.author == *desk.us);
        Ok(comments)
    }

    /// Has a comment say this, while the lock is held.
    async fn write_comment(
        &self,
        desk: &Desk<'_, F::Repository, L::Guard>,
        number: PrNumber,
        found: Option<&Comment>,
        body: &str,
    ) -> Result<(), Failure> {
        if found.is_some_and(|comment| comment.body == body) {
            return Ok(());
        }
        self.check(desk)?;
        if let Some(comment) = found {
            if desk.client.update_comment(comment.id, body).await?.is_none() {
                let reason = "our comment was deleted while it was being updated";
                return Err(Failure::new(ErrorClass::Retry, reason));
            }
        } else {
            desk.client.create_comment(number, body).await?;
        }
        Ok(())
    }

    fn check(&self, desk: &Desk<'_, F::Repository, L::Guard>) -> Result<(), Failure> {
        desk.guard
            .lease()
            .check(desk.client.id(), self.clock.instant())
            .map_err(|error| Failure::of(ErrorClass::Retry, &error))
    }

    fn now_s(&self) -> i64 {
        self.clock.time_of_day() / 1_000
    }
}

/// Why somebody may not, in Markdown; none if they may.
async fn lacks(
    client: &impl RepositoryPort,
    command: &CommandV1,
    needs: Role,
) -> Result<Option<String>, Failure> {
    let by = &command.by;
    let login = markdown::code(by.login.as_str());
    Ok(match client.collaborator(&by.login).await? {
        Some(found) if found.id != by.id => Some(format!(
            "The login {login} has passed to another account since this was written, so it was not done."
        )),
        Some(found) if found.role >= needs => None,
        Some(found) => Some(format!(
            "It needs the role {needs} in this repository; {login} has {}. `/promote help` says what each command needs.",
            found.role
        )),
        None => Some(format!(
            "There is no account {login} any more, so it was not done."
        )),
    })
}

/// What has a planner look at a change once more, and at what takes it back where there is something.
fn looks(cause: &Envelope, command: &CommandV1, number: PrNumber, is_taken_back: bool) -> Vec<Envelope> {
    let comment = command.comment.unwrap_or_default().to_string();
    let back = is_taken_back.then(|| look_back(cause, number, &comment));
    std::iter::once(replan(cause, command, number))
        .chain(back)
        .collect()
}

/// What tells a planner of the merge once more.
fn replan(cause: &Envelope, command: &CommandV1, number: PrNumber) -> Envelope {
    let comment = command.comment.unwrap_or_default().to_string();
    let id = MessageId::of(&[
        "replan",
        &cause.repo.id.to_string(),
        &number.to_string(),
        &comment,
    ]);
    cause.follow(id, Body::Delivery(DeliveryV1::merged(number, String::new())))
}

/// Reacts. Where reactions are not taken, as in a locked conversation, what was asked for is done all the same.
async fn react(client: &impl RepositoryPort, comment: u64, kind: ReactionKind) -> Result<(), Failure> {
    match client.react(comment, kind).await.map_err(Failure::from) {
        Err(Failure {
            class: ErrorClass::User,
            reason,
        }) => {
            tracing::info!("comment {comment} can't be reacted to: {reason}");
            Ok(())
        }
        reacted => reacted,
    }
}

/// A commit as people name it.
fn short(commit: &str) -> String {
    markdown::code(&commit.chars().take(12).collect::<String>())
}
