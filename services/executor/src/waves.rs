//! Carries a change from wave to wave: opens the steps of a wave when its time has come, merges what the policy lets be merged, and says who
//! or what is awaited.
//!
//! Nothing is remembered. Each look derives from the forge, git and the sealed comment with what people decided how far each wave is; what
//! follows from that is done or sent, and is found by the next look. So any look may be lost, or be made twice: the next one ends in the
//! same place. A look that has something to wait for puts its message aside, which holds no worker; merges and commands lead to another look at
//! once, by way of the planner.

use std::time::Duration;

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::{Done, Failure};
use lockflight_forge::StatusState;
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::change::Change;
use lockflight_promotion::command::GateName;
use lockflight_promotion::control::{ControlsRead, Hindrance};
use lockflight_promotion::message::{Body, Envelope, MergeV1, PromoteV1, Report, ReportV1};
use lockflight_promotion::plan::{PlannedFlow, PlannedWave, Step};
use lockflight_promotion::progress::Seen;
use lockflight_promotion::text::waves::Wave;
use lockflight_promotion::text::{self, controls, status};
use lockflight_promotion::{BranchName, CommitOid, ErrorClass, MessageId, PlanId, PrNumber, gate};

use crate::look::{Look, Sight};
use crate::report::{how, reported};
use crate::tell::{Word, tell};
use crate::{Executor, outcome};

/// The longest that a promotion which waits for people is left alone. Merges and commands are told at once; this is for what gets lost.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The longest until somebody looks what has become of a step that was sent.
const LONGEST_AFTER_SENDING: Duration = Duration::from_mins(10);

/// What a promotion waits for.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    /// What, as a part of a sentence that begins with it.
    pub(crate) what: String,
    /// When it is over, in seconds since 1970 UTC; none if nobody knows.
    pub(crate) until_s: Option<i64>,
    /// How often it has to be looked at, in seconds; none if the end of it is told, or known.
    pub(crate) every_s: Option<u64>,
}

impl Wait {
    pub(crate) const fn for_people(what: String) -> Self {
        Self {
            what,
            until_s: None,
            every_s: None,
        }
    }
}

/// What one look at all waves comes to.
#[derive(Default)]
struct Outlook {
    follow: Vec<Envelope>,
    waits: Vec<Wait>,
    /// What only people can bring on again.
    stuck: Vec<String>,
    /// The waves that have not begun.
    later: Vec<String>,
    /// The waves that are done and that something went to.
    reached: Vec<String>,
    /// What newer changes carry on, and so what comes after that.
    superseded: Vec<String>,
    /// How each wave is, for people.
    waves: Vec<Wave>,
    /// Whether a step was sent just now.
    sent: bool,
}

/// What one change is driven by.
struct Drive<'d> {
    envelope: &'d Envelope,
    change: &'d Change,
    plan: &'d PlanId,
    approve: bool,
    controls: ControlsRead,
    now_s: i64,
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// Takes the change of a report as far as it may go by now.
    pub(crate) async fn drive(
        &self,
        envelope: &Envelope,
        client: &F::Repository,
        report: &ReportV1,
        head: Option<CommitOid>,
    ) -> Result<Done, Failure> {
        let Report::Steps {
            plan,
            steps,
            flows,
            approve,
            once,
            last,
        } = &report.report
        else {
            return Err(Failure::new(ErrorClass::Bug, "a report without waves was driven"));
        };
        let change = &report.change;
        let drive = Drive {
            envelope,
            change,
            plan,
            approve: *approve,
            controls: self.controls(client, change).await?,
            now_s: self.clock.time_of_day() / 1000,
        };
        if let Some(aborted @ Hindrance::Aborted(_)) = drive.controls.hindrance(drive.now_s) {
            let word = Word::new(StatusState::Failure, aborted.sentence());
            tell(client, change, &word).await?;
            return Ok(Done::Ack(Vec::new()));
        }
        let mut look = Look::new(self, change, head);
        let mut outlook = Outlook::default();
        for flow in flows {
            self.follow_flow(&drive, &mut look, flow, steps, &mut outlook)
                .await?;
        }
        let (state, sentence) = if *last && !outlook.waits.is_empty() {
            let sentence = "Given up after too many failures; /promote replan looks again".to_owned();
            (StatusState::Failure, sentence)
        } else {
            outlook.sentence()
        };
        let decided = controls::decided(&drive.controls);
        let summary = text::waves::summary(&sentence, &outlook.waves, decided.as_deref());
        let word = Word::new(state, sentence).with_summary(summary);
        let mut follow = std::mem::take(&mut outlook.follow);
        if tell(client, change, &word).await? {
            follow.push(outcome(envelope, reported(change, &word)));
        }
        let wait = outlook.wait(&drive, self.config.merge_poll);
        Ok(match wait {
            Some(_) if *once => {
                // Nobody tells when time has passed or a server answers otherwise: from here on somebody has to look again.
                follow.extend(outlook.is_timed().then(|| attend(envelope, report)));
                Done::Ack(follow)
            }
            Some(wait) if !last => Done::Defer(wait, follow),
            _ => Done::Ack(follow),
        })
    }

    /// What people have decided about a change.
    pub(crate) async fn controls(
        &self,
        client: &F::Repository,
        change: &Change,
    ) -> Result<ControlsRead, Failure> {
        let us = self.forge.identity().await?.login;
        let comments = client.comments(change.number).await?;
        let ours = comments.iter().filter(|comment| comment.author == us);
        let bodies = ours.map(|comment| comment.body.as_str());
        Ok(controls::read(
            &self.config.marker_keys(),
            change.repo.id,
            change.number,
            bodies,
        ))
    }

    async fn follow_flow(
        &self,
        drive: &Drive<'_>,
        look: &mut Look<'_, L, F, G>,
        flow: &PlannedFlow,
        steps: &[Step],
        outlook: &mut Outlook,
    ) -> Result<(), Failure> {
        let mut done = vec![false; flow.waves.len()];
        let superseded = outlook.superseded.len();
        let mut later = Vec::new();
        for (place, wave) in flow.waves.iter().enumerate() {
            let steps: Vec<&Step> = steps
                .iter()
                .filter(|step| step.flow == flow.flow && step.wave == place)
                .collect();
            if !flow.may_begin(place, &done) {
                if !steps.is_empty() {
                    later.push(wave.name.clone());
                    outlook.waves.push(Wave {
                        flow: flow.name.clone(),
                        name: wave.name.clone(),
                        how: "later".to_owned(),
                        pull_requests: Vec::new(),
                    });
                }
                continue;
            }
            let before = outlook.waits.len();
            let (is_done, pull_requests) = self
                .carry_wave(drive, look, (place, wave), &steps, outlook)
                .await?;
            if !steps.is_empty() {
                let waits = outlook.waits.get(before..).unwrap_or_default();
                outlook.waves.push(Wave {
                    flow: flow.name.clone(),
                    name: wave.name.clone(),
                    how: if is_done {
                        "done".to_owned()
                    } else {
                        let waits: Vec<&str> = waits.iter().map(|wait| wait.what.as_str()).collect();
                        match waits.as_slice() {
                            [] => "stopped".to_owned(),
                            waits => format!("waits for {}", waits.join("; ")),
                        }
                    },
                    pull_requests,
                });
            }
            if let Some(done) = done.get_mut(place) {
                *done = is_done;
            }
        }
        // What a newer change carries on it takes to the waves after it, too.
        if outlook.superseded.len() == superseded {
            outlook.later.append(&mut later);
        }
        Ok(())
    }

    /// Takes one wave that may have begun as far as it may go; whether it is done, and how its steps are.
    async fn carry_wave(
        &self,
        drive: &Drive<'_>,
        look: &mut Look<'_, L, F, G>,
        (place, wave): (usize, &PlannedWave),
        steps: &[&Step],
        outlook: &mut Outlook,
    ) -> Result<(bool, Vec<String>), Failure> {
        if let Some(why) = &wave.blocked {
            let what = format!(
                "people: {} can't be reached whole: {why}; then /promote replan",
                wave.name
            );
            outlook.waits.push(Wait::for_people(what));
        }
        if steps.is_empty() {
            return Ok((wave.blocked.is_none(), Vec::new()));
        }
        let number = u32::try_from(place + 1).unwrap_or(u32::MAX);
        let hindrance = hindrance(drive, wave, number);
        let mut sights = Vec::with_capacity(steps.len());
        let mut told = Vec::with_capacity(steps.len());
        let (mut opening, mut merging) = (false, Vec::new());
        for step in steps {
            let called = |of: PrNumber| drive.change.name_of(&step.repo(drive.change).name, of);
            let mut sight = look.at(step).await?;
            if !sight.seen.is_over() && is_skipped(&drive.controls, step) {
                sight.seen = Seen::Skipped;
            }
            match sight.seen {
                Seen::Unopened if hindrance.is_none() => {
                    outlook.follow.push(drive.promote(step));
                    opening = true;
                }
                Seen::Open { number: of } => {
                    let attempt = if step.auto_merge && hindrance.is_none() {
                        let client = look.client(step).await?;
                        self.merge_if_allowed(drive, &client, step, &sight, (number, wave))
                            .await?
                    } else {
                        Attempt::LeftToPeople
                    };
                    match attempt {
                        Attempt::Waits(wait) => outlook.waits.push(wait),
                        Attempt::LeftToPeople => merging.push(called(of)),
                        // The next look sees it.
                        Attempt::Merged => opening = true,
                    }
                }
                Seen::Closed { number } => {
                    let what = format!("{}: {} was closed by people", wave.name, called(number));
                    outlook.stuck.push(what);
                }
                Seen::Stopped => outlook
                    .stuck
                    .push(format!("{}: a step can't be done, see the comment", wave.name)),
                Seen::Superseded { by } => outlook.superseded.push(format!("{} ({})", called(by), wave.name)),
                Seen::Unopened | Seen::Merged { .. } | Seen::Carried | Seen::Skipped => {}
            }
            told.push(how(drive.change, step, &sight.seen));
            sights.push((*step, sight));
        }
        if sights.iter().all(|(_, sight)| sight.seen.is_over()) {
            let waits = self
                .closed_gates(
                    drive.change,
                    look,
                    (number, wave),
                    &sights,
                    (&drive.controls, drive.now_s),
                )
                .await?;
            let is_done = waits.is_empty() && wave.blocked.is_none();
            if is_done {
                outlook.reached.push(wave.name.clone());
            }
            outlook.waits.extend(waits);
            return Ok((is_done, told));
        }
        outlook.sent |= opening;
        if !merging.is_empty() {
            let what = format!("the merge of {} ({})", merging.join(", "), wave.name);
            outlook.waits.push(Wait::for_people(what));
        } else if opening {
            let what = format!("the pull requests to {}", wave.name);
            outlook.waits.push(Wait::for_people(what));
        }
        outlook.waits.extend(hindrance);
        Ok((false, told))
    }

    /// Merges the pull request of a step that needs no person, once those approve it who have to.
    async fn merge_if_allowed(
        &self,
        drive: &Drive<'_>,
        client: &F::Repository,
        step: &Step,
        sight: &Sight,
        (number, wave): (u32, &PlannedWave),
    ) -> Result<Attempt, Failure> {
        let Some(pull_request) = &sight.pull_request else {
            return Ok(Attempt::LeftToPeople);
        };
        let called = drive
            .change
            .name_of(&pull_request.base_repo.name, pull_request.number);
        let gates = (number, wave);
        if let Some(wait) = self
            .missing_approvals(drive.change, client, pull_request, gates, &drive.controls)
            .await?
        {
            return Ok(Attempt::Waits(wait));
        }
        let mut promote = drive.promotion(step);
        if let Ok(branch) = BranchName::parse(pull_request.head_branch.as_str()) {
            // Mostly the step's own; another where a pull request was taken over.
            promote.step.branch = branch;
        }
        if !self.is_ours(client, &promote, pull_request).await? {
            let what = format!(
                "the merge of {called} ({}), which has commits that Lockflight did not make",
                wave.name
            );
            return Ok(Attempt::Waits(Wait::for_people(what)));
        }
        let merge = MergeV1 {
            number: pull_request.number,
            commit: pull_request.head.clone(),
            promote,
        };
        Ok(match self.merge(drive.envelope, &merge).await? {
            Done::Ack(told) => match told.iter().find_map(refusal) {
                // Said in the status, which tells of the change as a whole, and not in a comment at each look.
                Some(why) => Attempt::Waits(Wait::for_people(format!("people: {why}"))),
                None => Attempt::Merged,
            },
            Done::Defer(wait, _) => Attempt::Waits(Wait {
                what: format!("the checks of {called} ({}), which is merged then", wave.name),
                until_s: None,
                every_s: Some(wait.as_secs().max(1)),
            }),
        })
    }
}

/// What came of merging a pull request.
enum Attempt {
    Merged,
    LeftToPeople,
    Waits(Wait),
}

/// Why a merge is left to people, as a message tells them.
fn refusal(told: &Envelope) -> Option<&str> {
    match &told.body {
        Body::Report(report) => match &report.report {
            Report::Failed { summary, .. } => Some(summary),
            Report::Nothing { .. } | Report::Steps { .. } | Report::DryRun { .. } | Report::Preview(_) => {
                None
            }
        },
        _ => None,
    }
}

/// The same report, by somebody who stays until the end.
fn attend(envelope: &Envelope, report: &ReportV1) -> Envelope {
    let mut report = report.clone();
    if let Report::Steps { once, .. } = &mut report.report {
        *once = false;
    }
    let id = MessageId::of(&["attend", envelope.id.as_str()]);
    envelope.follow(id, Body::Report(Box::new(report)))
}

impl Drive<'_> {
    fn promotion(&self, step: &Step) -> PromoteV1 {
        PromoteV1 {
            change: self.change.clone(),
            plan: self.plan.clone(),
            step: step.clone(),
            approve: self.approve,
            attended: true,
        }
    }

    fn promote(&self, step: &Step) -> Envelope {
        PromoteV1::message(self.envelope, self.promotion(step))
    }
}

/// Why nothing of a wave may be opened or merged now.
fn hindrance(drive: &Drive<'_>, wave: &PlannedWave, number: u32) -> Option<Wait> {
    if let Some(hindrance) = drive.controls.hindrance(drive.now_s) {
        return Some(Wait::for_people(hindrance.sentence()));
    }
    if drive.controls.override_of(GateName::Freeze, number).is_some() {
        return None;
    }
    let freeze = gate::freeze::state(&wave.freezes, drive.now_s)?;
    let until = lockflight_promotion::command::utc(freeze.until_s);
    Some(Wait {
        what: format!(
            "the end of a freeze of {} at {until}: {}",
            wave.name, freeze.reason
        ),
        until_s: Some(freeze.until_s),
        every_s: None,
    })
}

/// Whether people said that a step is left out.
pub(crate) fn is_skipped(controls: &ControlsRead, step: &Step) -> bool {
    // A step is one pull request: it is left out when all that it leads to is.
    controls.skip_of([step.description.as_str()]).is_some()
        || (!step.targets.is_empty()
            && step.targets.iter().all(|target| {
                let path = target.path.as_str();
                !path.is_empty() && controls.skip_of([path]).is_some()
            }))
}

impl Outlook {
    /// The state of the change, and the one sentence on who or what is awaited.
    fn sentence(&self) -> (StatusState, String) {
        let then = match self.later.as_slice() {
            [] => String::new(),
            later => format!("; then {}", later.join(", ")),
        };
        if let Some(stuck) = self.stuck.first() {
            return (StatusState::Failure, format!("Stopped at {stuck}"));
        }
        let waits: Vec<&str> = self.waits.iter().map(|wait| wait.what.as_str()).collect();
        match waits.as_slice() {
            [] if !self.superseded.is_empty() && self.later.is_empty() => {
                let by = self.superseded.join(", ");
                let sentence = match self.reached.as_slice() {
                    [] => format!("Superseded by {by}"),
                    reached => format!("Promoted to {}; then superseded by {by}", reached.join(", ")),
                };
                (StatusState::Success, sentence)
            }
            [] if self.later.is_empty() => {
                let sentence = match self.reached.as_slice() {
                    [] => status::nothing("every target already has this content"),
                    reached => format!("Promoted to {}", reached.join(", ")),
                };
                (StatusState::Success, sentence)
            }
            [] => (StatusState::Pending, format!("On its way{then}")),
            waits => {
                let sentence = format!("Waiting for {}{then}", waits.join("; "));
                (StatusState::Pending, sentence)
            }
        }
    }

    /// Whether it waits for nothing but time and servers.
    fn is_timed(&self) -> bool {
        let is_told = |wait: &Wait| wait.until_s.is_none() && wait.every_s.is_none();
        !self.sent && !self.waits.is_empty() && !self.waits.iter().any(is_told)
    }

    /// How long to wait until the next look; none if there is nothing to look for any more.
    fn wait(&self, drive: &Drive<'_>, shortest: Duration) -> Option<Duration> {
        if self.waits.is_empty() && !self.sent {
            return None;
        }
        let shortest = shortest.max(Duration::from_millis(100));
        let age = drive.now_s.saturating_sub(drive.change.committed_at);
        let patience = seconds(age / 10).clamp(shortest, LONGEST_WAIT.max(shortest));
        if self.sent {
            // What was sent may be refused each time, so that it is not sent without end.
            return Some(patience.min(shortest.max(LONGEST_AFTER_SENDING)));
        }
        let of_waits = self.waits.iter().filter_map(|wait| {
            let until = wait
                .until_s
                .map(|until| seconds(until.saturating_sub(drive.now_s) + 1));
            let every = wait.every_s.map(Duration::from_secs);
            until.into_iter().chain(every).min()
        });
        let known = of_waits.min();
        // Where all that is waited for has an end that is known, nobody looks before that.
        let all_known = self.waits.iter().all(|wait| wait.until_s.is_some());
        Some(match known {
            Some(known) if all_known => known.clamp(Duration::from_secs(1), LONGEST_WAIT),
            Some(known) => known.min(patience).max(Duration::from_secs(1)),
            None => patience,
        })
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
