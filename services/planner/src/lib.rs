//! The planner: turns a delivery into facts, facts into a plan, and a plan into steps.
//!
//! A delivery is a hint. Everything that decides is read here: the pull request from the forge, policy and trees from git,
//! pinned at the merge commit. The planner only reads; what is to be done or said goes to the executor as messages, published in
//! the same moment as the delivery is settled. Planning a delivery again therefore yields the same messages, and is harmless.

mod facts;
mod reply;
mod sweep;

use std::sync::Arc;
use std::time::Instant;

use lockflight_fleet::failpoint;
use lockflight_fleet::worker::{Done, Failure, Handler};
use lockflight_forge::Forge;
use lockflight_forge::port::ForgePort;
use lockflight_git::Mirrors;
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::message::{Body, DeliveryV1, Envelope, Outcome, Phase};
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
}

impl<F: ForgePort, G: MirrorsPort> Planner<F, G> {
    /// A planner that reads through `forge` and `mirrors`, and believes lineage markers that were signed with one of the keys.
    #[must_use]
    pub fn new(forge: F, mirrors: G, marker_keys: Vec<MarkerKey>) -> Self {
        Self {
            forge,
            mirrors,
            marker_keys: marker_keys.into(),
        }
    }

    async fn plan(&self, envelope: &Envelope, number: PrNumber) -> Result<Vec<Envelope>, Failure> {
        let reading = facts::read(
            &self.forge,
            &self.mirrors,
            &self.marker_keys,
            &envelope.repo,
            number,
        )
        .await?;
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
        let span = tracing::info_span!(
            "plan",
            { attribute::PLAN_ID } = Empty,
            { attribute::PLAN_STEPS } = Empty
        );
        let plan = span
            .in_scope(|| lockflight_promotion::plan(&policy, &facts))
            .map_err(|error| Failure::of(ErrorClass::Bug, &error))?;
        span.record(attribute::PLAN_ID, plan.id.as_str());
        span.record(attribute::PLAN_STEPS, plan.steps.len());
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
        failpoint::reached("planner.planned");
        Ok(follow)
    }
}

impl<F: ForgePort, G: MirrorsPort> Handler for Planner<F, G> {
    type Prepared = ();

    async fn prepare(&self, batch: &[&Envelope]) -> Vec<Result<(), Failure>> {
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn handle(&self, envelope: &Envelope, _attempt: u32, _prepared: ()) -> Result<Done, Failure> {
        let Body::Delivery(delivery) = &envelope.body else {
            return Err(Failure::new(
                ErrorClass::Reject,
                "a planner was handed a message that is no delivery",
            ));
        };
        match merged_pull_request(delivery) {
            Some(number) => Ok(Done::Ack(self.plan(envelope, number).await?)),
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

fn merged_pull_request(delivery: &DeliveryV1) -> Option<PrNumber> {
    let hint = delivery.pull_request.as_ref()?;
    (delivery.event == "pull_request" && hint.merged).then_some(hint.number)
}
