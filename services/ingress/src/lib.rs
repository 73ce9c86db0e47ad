//! Takes GitHub's webhooks: verifies them, reduces them to ids, and answers 202 only once they are durable in the queue.
//!
//! What it guarantees, in this order, for each delivery:
//! 1. It is read up to a cap, in time, and within a budget of memory for all deliveries together.
//! 2. Its signature is checked over the raw bytes before anything is parsed.
//! 3. What its headers say, which are not signed, has to fit its body.
//! 4. 202 means that the queue has confirmed it. Anything else that is no answer of 2xx stands in GitHub's list of failed deliveries,
//!    from where it can be asked for again.
//!
//! What may interleave: deliveries in any order, and the same one many times. Each is published as often as it comes, under the
//! same message id; those who act on it make sure that the effect does not repeat.
//!
//! What it ignores: inbound trace headers, since anybody may send them; and everything in a delivery but the ids, since a webhook is a
//! hint and the planner reads the facts itself. A push to the default branch is the exception, where the operator allows hosts that webhooks may be
//! passed on to: it is kept as it came, with its signature.

mod answer;
mod body;
mod config;
mod handler;
mod measure;
mod payload;
mod signature;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use lockflight_fleet::Queue;
use lockflight_runtime::{Health, SecretError};

pub use config::{IngressConfig, WebhookConfig};

use handler::Ingress;
use signature::Keys;

/// The ingress can't start.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// Without a secret anybody could send anything; more than two are no rotation.
    #[error("one webhook secret is needed, or two during a rotation; {0} are given")]
    Secrets(usize),
    /// A secret can't be read.
    #[error("a webhook secret can't be used")]
    Secret(#[from] SecretError),
    /// The path is none that can be served.
    #[error(
        "the webhook path {0:?} can't be served; it begins with a slash, has letters, digits, `-`, `_`, `.` and `/` only, \
         and is neither /healthz nor /readyz"
    )]
    Path(String),
    /// The limits contradict each other.
    #[error(
        "at most {max_buffered} bytes may be held in memory, which is less than one body of {max_body} bytes"
    )]
    Memory {
        /// The limit on one body.
        max_body: usize,
        /// The limit on all of them.
        max_buffered: usize,
    },
}

/// The routes of the ingress: the webhook's path, `/healthz` and `/readyz`.
///
/// # Errors
/// When the secrets can't be read or the configuration makes no sense. It reads small files, so it blocks for a moment.
pub fn router<Q: Queue>(config: IngressConfig, queue: Q, health: &Health) -> Result<Router, IngressError> {
    config.check()?;
    let keys = Keys::load(config.secrets.clone())?;
    let path = config.path.clone();
    let ingress = Arc::new(Ingress::new(config, keys, queue));
    let webhook = post(handler::deliver::<Q>).fallback(handler::wrong_method);
    Ok(Router::new()
        .route(&path, webhook)
        .with_state(ingress)
        .merge(health.router()))
}
