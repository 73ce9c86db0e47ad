//! Carries a change from wave to wave: opens the steps of a wave when its time has come, merges what the policy lets be merged, and says who
//! or what is awaited.
//!
//! Nothing is remembered. Each look derives from the forge, git and the sealed comment with what people decided how far each wave is; what
//! follows from that is done or sent, and is found by the next look. So any look may be lost, or be made twice: the next one ends in the
//! same place. A look that has something to wait for puts its message aside, which holds no worker; merges and commands lead to another look at
//! once, by way of the planner.

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::{Done, Failure};
use lockflight_forge::StatusState;
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::change::Change;
use lockflight_promotion::command::GateName;
use lockflight_promotion::control::{ControlsRead, Hindrance};
use lockflight_promotion::message::{Body, DeliveryV1, Envelope, MergeV1, PromoteV1, Report, ReportV1};
use lockflight_promotion::plan::{PlannedFlow, PlannedWave, Step};
use lockflight_promotion::progress::Seen;
use lockflight_promotion::rollback::{Rollback, WayBackRead};
use lockflight_promotion::text::waves::Wave;
use lockflight_promotion::text::{self, controls};
use lockflight_promotion::{BranchName, CommitOid, ErrorClass, MessageId, PlanId, PrNumber, gate};

use crate::holds::{HELD_EVERY_S, Holds};
use crate::look::{Look, Sight};
use crate::outlook::{Outlook, Wait};
use crate::report::{how, reported};
use crate::tell::{Word, tell};
use crate::{Executor, outcome};

/// What one change is driven by.
struct Drive<'d> {
    envelope: &'d Envelope,
    change: &'d Change,
    plan: &'d PlanId,
    approve: bool,
    controls: ControlsRead,
    /// What other changes hold.
    holds: Holds,
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
        let mut drive = Drive {
            envelope,
            change,
            plan,
            approve: *approve,
            controls: self.controls(client, change).await?,
            holds: Holds::default(),
            now_s: self.clock.time_of_day() / 1000,
        };
        if let Some((state, sentence)) = drive.over(steps) {
            let mut word = Word::new(state, sentence);
            if let Some(decided) = controls::decided(&drive.controls) {
                word = word.with_summary(decided);
            }
            tell(client, change, &word).await?;
            return Ok(Done::Ack(self.way_back_of(&drive, *once)));
        }
        match &change.rollback {
            Some(back) => self.keep_hold(client, change, back).await?,
            None => drive.holds = self.holds(client).await?,
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
            outlook.sentence(change.rollback.is_some())
        };
        let decided = controls::decided(&drive.controls);
        let summary = text::waves::summary(&sentence, &outlook.waves, decided.as_deref());
        let word = Word::new(state, sentence).with_summary(summary);
        let mut follow = std::mem::take(&mut outlook.follow);
        follow.extend(self.way_back_of(&drive, *once));
        if tell(client, change, &word).await? {
            follow.push(outcome(envelope, reported(change, &word)));
        }
        let wait = outlook.wait(drive.now_s, change.committed_at, self.config.merge_poll);
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
        self.controls_of(client, change.number).await
    }

    pub(crate) async fn controls_of(
        &self,
        client: &F::Repository,
        number: PrNumber,
    ) -> Result<ControlsRead, Failure> {
        let us = self.forge.identity().await?.login;
        let comments = client.comments(number).await?;
        let ours = comments.iter().filter(|comment| comment.author == us);
        let bodies = ours.map(|comment| comment.body.as_str());
        let keys = self.config.marker_keys();
        Ok(controls::read(&keys, client.id(), number, bodies))
    }

    /// What has a planner look at what of the change is taken back: messages of that may have been lost.
    fn way_back_of(&self, drive: &Drive<'_>, once: bool) -> Vec<Envelope> {
        let is_due = !once
            && drive.change.rollback.is_none()
            && drive.controls.rollbacks().iter().any(Rollback::holds);
        let look = is_due.then(|| look_back(drive.envelope, drive.change.number, drive.envelope.id.as_str()));
        look.into_iter().collect()
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
            if !sight.seen.is_over() && drive.leaves_out(step) {
                sight.seen = Seen::Skipped;
            }
            let held = drive
                .holds
                .of(drive.change, step)
                .filter(|_| !sight.seen.is_over());
            if let Some(what) = held {
                outlook.waits.push(Wait {
                    what,
                    until_s: None,
                    every_s: Some(HELD_EVERY_S),
                });
                sights.push((*step, sight));
                continue;
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

/// What has a planner look at what of a change is taken back. `why` tells one look from another.
pub(crate) fn look_back(cause: &Envelope, number: PrNumber, why: &str) -> Envelope {
    let (repo, change) = (cause.repo.id.to_string(), number.to_string());
    let id = MessageId::of(&["rolled-back", &repo, &change, why]);
    cause.follow(id, Body::Delivery(DeliveryV1::rolled_back(number)))
}

impl Drive<'_> {
    /// Why nothing more may be opened or merged now.
    fn hindrance(&self) -> Option<Hindrance<'_>> {
        let Some(back) = &self.change.rollback else {
            return self.controls.hindrance(self.now_s);
        };
        match self.controls.way_back(back) {
            WayBackRead::Stands(rollback) => self.controls.hinders_way_back(rollback, self.now_s),
            WayBackRead::Hindered | WayBackRead::Over => self.controls.hindrance(self.now_s),
        }
    }

    /// What the status says where nothing more is done, whatever comes; none if something may be.
    fn over(&self, steps: &[Step]) -> Option<(StatusState, String)> {
        if let Some(aborted @ Hindrance::Aborted(_)) = self.hindrance() {
            return Some((StatusState::Failure, aborted.sentence()));
        }
        if let Some(back) = &self.change.rollback {
            let let_go = || {
                (
                    StatusState::Success,
                    "Let go: nothing more is rolled back".to_owned(),
                )
            };
            return (self.controls.way_back(back) == WayBackRead::Over).then(let_go);
        }
        let mut taken_back = None;
        for step in steps {
            taken_back = Some(self.controls.taken_back(self.change, step)?);
        }
        let sentence = |rollback: &Rollback| format!("Rolled back {}", rollback.by_and_why());
        taken_back.map(|rollback| (StatusState::Failure, sentence(rollback)))
    }

    /// Whether people said that a step is left out, or taken back.
    fn leaves_out(&self, step: &Step) -> bool {
        self.change.rollback.is_none()
            && (is_skipped(&self.controls, step) || self.controls.taken_back(self.change, step).is_some())
    }

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
    if let Some(hindrance) = drive.hindrance() {
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
