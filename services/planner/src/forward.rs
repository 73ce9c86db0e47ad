//! Pushes to the default branch: to whom the policy has their webhooks passed on.
//!
//! The planner only finds out the endpoints, and makes a message for each: one that is slow or away holds up no other. Whether an address may be
//! called is for those who call it.

use lockflight_fleet::worker::Failure;
use lockflight_forge::port::ForgePort;
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::message::{Envelope, ForwardV1, Outcome, PushV1};
use lockflight_promotion::policy::Endpoints;

use crate::{Planner, facts, reply};

/// How many bytes of bodies one push may become, beside the first: each endpoint's message has the whole of it.
const MOST_BYTES: usize = 64 << 20;

impl<F: ForgePort, G: MirrorsPort> Planner<F, G> {
    /// What follows from a push to the default branch.
    pub(crate) async fn pushed(&self, envelope: &Envelope, push: &PushV1) -> Result<Vec<Envelope>, Failure> {
        let client = self.forge.repository(&envelope.repo).await?;
        let policy = facts::policy_of(&self.mirrors, &client, &push.branch).await?;
        let ignored = |reason: String| vec![reply::outcome(envelope, Outcome::Ignored { reason })];
        let policy = match policy {
            Ok(Some(policy)) => policy,
            Ok(None) => {
                return Ok(ignored(
                    "there is no policy that would have a push passed on".to_owned(),
                ));
            }
            Err(errors) => {
                return Ok(ignored(format!(
                    "the push is not passed on, since the policy can't be used: {}",
                    errors.first()
                )));
            }
        };
        let paths = push.paths.iter().map(String::as_str);
        let Endpoints {
            mut addresses,
            mut left_out,
        } = policy.settings().endpoints(paths);
        let most = (MOST_BYTES / push.original.body.len().max(1)).max(1);
        left_out += addresses.len().saturating_sub(most);
        addresses.truncate(most);
        if addresses.is_empty() {
            return Ok(ignored(
                "the policy has no webhook endpoint for this push".to_owned(),
            ));
        }
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "a push to {} is passed on to {} endpoints, and {left_out} more are left out",
                envelope.repo.name,
                addresses.len(),
            );
        }
        let forwarding = Outcome::Forwarding {
            endpoints: addresses.len(),
            left_out,
        };
        let mut follow = vec![reply::outcome(envelope, forwarding)];
        follow.extend(
            addresses
                .into_iter()
                .map(|endpoint| ForwardV1::message(envelope, push, endpoint)),
        );
        Ok(follow)
    }
}
