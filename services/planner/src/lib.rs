//! The planner: turns a delivery into facts, facts into a plan, and a plan into steps.
//!
//! A delivery is a hint. Everything that decides is read here: the pull request from the forge, policy and trees from git,
//! pinned at the merge commit. The planner only reads; what is to be done or said goes to the executor as messages, published in
//! the same moment as the delivery is settled. Planning a delivery again therefore yields the same messages, and is harmless.

mod changed;
mod command;
mod drift;
mod facts;
mod forward;
mod phases;
mod preview;
mod reply;
mod rollback;
mod sweep;

use std::sync::Arc;
use std::time::Instant;

use lockflight_fleet::failpoint;
use lockflight_fleet::worker::{Done, Failure, Handler};
use lockflight_forge::Forge;
use lockflight_forge::port::ForgePort;
use lockflight_git::Mirrors;
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::change::Repository;
use lockflight_promotion::message::{Body, DeliveryV1, Envelope, Outcome, Phase};
use lockflight_promotion::plan::{Facts, Plan};
use lockflight_promotion::policy::Policy;
use lockflight_promotion::telemetry::attribute;
use lockflight_promotion::text::Links;
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_promotion::{ErrorClass, PrNumber};
use tracing::field::Empty;

use crate::facts::Reading;

pub use crate::sweep::sweep;

/// What a planner works with.
#[derive(Clone, Debug)]
pub struct Planner<F = Forge, G = Mirrors> {
    forge: F,
    mirrors: G,
    marker_keys: Arc<[MarkerKey]>,
    previews: bool,
}

impl<F: ForgePort, G: MirrorsPort> Planner<F, G> {
    /// A planner that reads through `forge` and `mirrors`, and believes lineage markers that were signed with one of the keys.
    #[must_use]
    pub fn new(forge: F, mirrors: G, marker_keys: Vec<MarkerKey>) -> Self {
        Self {
            forge,
            mirrors,
            marker_keys: marker_keys.into(),
            previews: true,
        }
    }

    /// Whether pull requests are told where they will go while they are open. Without a word they are.
    #[must_use]
    pub fn with_previews(mut self, previews: bool) -> Self {
        self.previews = previews;
        self
    }

    /// What follows from the end of pull request `number`: it may be a change to promote, and a step that the promotion of another change
    /// has waited for.
    async fn ended(&self, envelope: &Envelope, number: PrNumber) -> Result<Vec<Envelope>, Failure> {
        let (reading, source) = self.read(&envelope.repo, number).await?;
        // Where no flow of the policy has a second wave, no change of the same repository waits for the end of a pull request.
        let has_waves = match &reading {
            Reading::Facts { policy, .. } => policy.has_waves(),
            Reading::Nothing { .. } | Reading::BrokenPolicy { .. } | Reading::Unreadable { .. } => true,
        };
        let mut follow = self.plan(envelope, number, reading)?;
        if let Some(source) =
            source.filter(|source| has_waves || source.rollback || source.repo.id != envelope.repo.id)
        {
            match self.look_again(envelope, &source).await {
                Ok(look) => follow.extend(look),
                Err(failure) if matches!(failure.class, ErrorClass::Retry | ErrorClass::RetryAfter(_)) => {
                    return Err(failure);
                }
                // What follows here does not depend on it, and its own message still waits there.
                Err(failure) => tracing::warn!(
                    pr.number = %source.number,
                    "the change {}#{} can't be looked at: {}", source.repo.name, source.number, failure.reason,
                ),
            }
        }
        failpoint::reached("planner.planned");
        Ok(follow)
    }

    /// Another look at the change that a promotion came from.
    async fn look_again(
        &self,
        envelope: &Envelope,
        source: &facts::Source,
    ) -> Result<Vec<Envelope>, Failure> {
        if source.rollback {
            return self
                .rolled_back(envelope, &source.repo, source.number, true)
                .await;
        }
        let (reading, _) = self.read(&source.repo, source.number).await?;
        let Reading::Facts { policy, facts, .. } = reading else {
            return Ok(Vec::new());
        };
        let plan = decide(&policy, &facts)?;
        let look = reply::another_look(envelope, &facts.change, plan);
        Ok(look.into_iter().collect())
    }

    async fn read(
        &self,
        repo: &Repository,
        number: PrNumber,
    ) -> Result<(Reading, Option<facts::Source>), Failure> {
        facts::read(
            &self.forge,
            &self.mirrors,
            &self.marker_keys,
            repo,
            number,
            facts::Way::On,
        )
        .await
    }

    fn plan(
        &self,
        envelope: &Envelope,
        number: PrNumber,
        reading: Reading,
    ) -> Result<Vec<Envelope>, Failure> {
        let (policy, facts, mut phases) = match reading {
            Reading::Nothing { reason } => {
                return Ok(vec![reply::outcome(envelope, Outcome::Ignored { reason })]);
            }
            Reading::BrokenPolicy { change, errors } => {
                let links = Links::new(self.forge.web_url());
                let broken = reply::broken_policy(&change, &errors, &links);
                return Ok(vec![reply::report(envelope, &change, broken)]);
            }
            Reading::Unreadable { change, reason } => {
                tracing::warn!(pr.number = %number, "pull request {number} can't be planned, and people are told: {reason}");
                return Ok(vec![reply::report(envelope, &change, reply::unreadable(&reason))]);
            }
            Reading::Facts {
                policy,
                facts,
                phases,
            } => (policy, facts, phases),
        };
        let started = Instant::now();
        let plan = decide(&policy, &facts)?;
        phases.push(Phase {
            name: "plan".to_owned(),
            ms: reply::millis(started),
        });
        tracing::info!(
            pr.number = %number, plan.id = %plan.id, steps = plan.steps.len(),
            "planned pull request {number} of {}: {} steps", envelope.repo.name, plan.steps.len(),
        );
        let planned = Outcome::Planned {
            plan: plan.id.clone(),
            number,
            steps: plan.steps.iter().map(|step| step.id.clone()).collect(),
            phases,
        };
        let mut follow = vec![reply::outcome(envelope, planned)];
        follow.extend(reply::messages(envelope, &facts.change, plan));
        Ok(follow)
    }
}

/// Makes the plan.
fn decide(policy: &Policy, facts: &Facts) -> Result<Plan, Failure> {
    let span = tracing::info_span!(
        "plan",
        { attribute::PLAN_ID } = Empty,
        { attribute::PLAN_STEPS } = Empty
    );
    let plan = span
        .in_scope(|| lockflight_promotion::plan(policy, facts))
        .map_err(|error| Failure::of(error.class(), &error))?;
    span.record(attribute::PLAN_ID, plan.id.as_str());
    span.record(attribute::PLAN_STEPS, plan.steps.len());
    Ok(plan)
}

impl<F: ForgePort, G: MirrorsPort> Handler for Planner<F, G> {
    type Prepared = ();

    async fn prepare(&self, batch: &[&Envelope]) -> Vec<Result<(), Failure>> {
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn handle(&self, envelope: &Envelope, _attempt: u32, _prepared: ()) -> Result<Done, Failure> {
        let delivery = match &envelope.body {
            Body::Delivery(delivery) => delivery,
            Body::Push(push) => return Ok(Done::Ack(self.pushed(envelope, push).await?)),
            _ => {
                return Err(Failure::new(
                    ErrorClass::Reject,
                    "a planner was handed a message that is no delivery",
                ));
            }
        };
        if let Some(follow) = self.asked(envelope, delivery).await? {
            return Ok(Done::Ack(follow));
        }
        if let Some(number) = preview::asked_by(delivery).filter(|_| self.previews) {
            return Ok(Done::Ack(self.preview(envelope, delivery, number).await?));
        }
        if let Some(hint) = delivery.pull_request.as_ref().filter(|_| delivery.is_rollback()) {
            let look = self.rolled_back(envelope, &envelope.repo, hint.number, false);
            return Ok(Done::Ack(look.await?));
        }
        match ended_pull_request(delivery) {
            Some(number) => Ok(Done::Ack(self.ended(envelope, number).await?)),
            None => {
                let reason = "only merged pull requests are promoted".to_owned();
                Ok(Done::Ack(vec![reply::outcome(
                    envelope,
                    Outcome::Ignored { reason },
                )]))
            }
        }
    }
}

/// The pull request that a delivery tells the end of. One that was closed without a merge promotes nothing, but may be what a promotion
/// waits for.
fn ended_pull_request(delivery: &DeliveryV1) -> Option<PrNumber> {
    let hint = delivery.pull_request.as_ref()?;
    let ended = hint.merged || delivery.action.as_deref() == Some("closed");
    (delivery.event == "pull_request" && ended).then_some(hint.number)
}
