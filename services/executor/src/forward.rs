//! Passes webhooks on: one message for each endpoint, as the webhook came.
//!
//! What it guarantees:
//! - Only hosts that the operator allows are called, under the guard of [`lockflight_outbound`]; the policy's author decides nothing of that.
//! - The body goes out byte for byte, with the headers that belong to it, so that the receiver can verify GitHub's signature.
//! - An endpoint that is slow has at most [`AT_ONCE`] calls of a process; what else is for it is put aside, and holds up no other endpoint.
//! - What may pass (no connection, no answer in time, 5xx, 408, 425, 429) is tried again as everything is, and parked in the end. What will not
//!   pass (other statuses, a host that may not be called) is told to the journal, and not tried again.
//!
//! At least once: when the process dies between the answer and its acknowledgement, the endpoint gets the webhook twice, with the same
//! `X-GitHub-Delivery`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use lockflight_fleet::worker::{Done, Failure, Handler};
use lockflight_outbound::{Address, Outbound, OutboundError};
use lockflight_promotion::ErrorClass;
use lockflight_promotion::message::{Body, Envelope, ForwardV1, Original, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::outcome;

/// How many calls one endpoint has of a process at a time: fewer than a repository may have in hand.
const AT_ONCE: usize = 4;

/// For how long a message waits for its endpoint with a worker.
const PATIENCE: Duration = Duration::from_millis(500);

/// For how long it is put aside after that.
const ASIDE: Duration = Duration::from_secs(5);

/// Passes webhooks on.
#[derive(Clone, Debug)]
pub struct Forwarder {
    outbound: Outbound,
    turns: Turns,
}

impl Forwarder {
    /// One that calls what `outbound` allows.
    #[must_use]
    pub fn new(outbound: Outbound) -> Self {
        Self {
            outbound,
            turns: Turns::default(),
        }
    }

    async fn forward(&self, envelope: &Envelope, forward: &ForwardV1) -> Result<Done, Failure> {
        let address = match Address::parse(&forward.endpoint) {
            Ok(address) => address,
            Err(error) => {
                return Ok(not_forwarded(envelope, String::new(), None, error.to_string()));
            }
        };
        let to = address.to_string();
        let Some(_turn) = self.turns.take(&to).await else {
            return Ok(Done::Defer(ASIDE, Vec::new()));
        };
        let headers = headers(&forward.original);
        let body = forward.original.body.clone().into();
        let status = match self.outbound.call(&address, Method::POST, headers, body).await {
            Ok(answer) => answer.status,
            // What it says is of no interest.
            Err(OutboundError::TooLong { status, .. }) => status,
            Err(error) if matches!(error.class(), ErrorClass::User) => {
                return Ok(not_forwarded(envelope, to, None, error.in_full()));
            }
            Err(error) => return Err(Failure::new(error.class(), error.in_full())),
        };
        if status.is_success() {
            tracing::info!("passed a webhook of {} on to {to}", envelope.repo.name);
            let status = status.as_u16();
            return Ok(Done::Ack(vec![outcome(
                envelope,
                Outcome::Forwarded { to, status },
            )]));
        }
        let reason = format!("{to} answered {}", status.as_u16());
        if may_pass(status) {
            return Err(Failure::new(ErrorClass::Retry, reason));
        }
        Ok(not_forwarded(envelope, to, Some(status), reason))
    }
}

/// Whether another attempt may be answered otherwise.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Tells the journal that a webhook is not passed on.
fn not_forwarded(envelope: &Envelope, to: String, status: Option<StatusCode>, reason: String) -> Done {
    tracing::warn!("a webhook of {} is not passed on: {reason}", envelope.repo.name);
    let told = Outcome::NotForwarded {
        to,
        status: status.map(|status| status.as_u16()),
        reason,
    };
    Done::Ack(vec![outcome(envelope, told)])
}

/// The headers of a webhook. They came in a request, so that none is refused here.
fn headers(original: &Original) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &original.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The turns of each scheme, host and port that is called or waited for now.
#[derive(Clone, Debug, Default)]
struct Turns(Arc<Mutex<HashMap<String, Weak<Semaphore>>>>);

impl Turns {
    /// Waits for a turn for a while; none if it did not come. It lasts until it is dropped.
    async fn take(&self, to: &str) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turns| turns.strong_count() > 0);
            let known = all.get(to).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turns = Arc::new(Semaphore::new(AT_ONCE));
                all.insert(to.to_owned(), Arc::downgrade(&turns));
                turns
            })
        };
        // Nobody closes it.
        tokio::time::timeout(PATIENCE, turns.acquire_owned())
            .await
            .ok()?
            .ok()
    }
}

impl Handler for Forwarder {
    type Prepared = ();

    async fn prepare(&self, batch: &[&Envelope]) -> Vec<Result<(), Failure>> {
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn handle(&self, envelope: &Envelope, _failures: u32, _prepared: ()) -> Result<Done, Failure> {
        match &envelope.body {
            Body::Forward(forward) => self.forward(envelope, forward).await,
            _ => Err(Failure::new(
                ErrorClass::Reject,
                "somebody who passes webhooks on was handed another message",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_has_so_many_turns_and_another_has_its_own() {
        let turns = Turns::default();
        let mut taken = Vec::new();
        for _ in 0..AT_ONCE {
            taken.push(turns.take("https://slow.example").await.unwrap());
        }
        assert!(turns.take("https://slow.example").await.is_none());
        assert!(turns.take("https://slow.example:8443").await.is_some());
        taken.pop();
        assert!(turns.take("https://slow.example").await.is_some());
        taken.clear();
        drop(turns.take("https://other.example").await);
        assert_eq!(
            turns.0.lock().unwrap().len(),
            1,
            "those who are done are forgotten"
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for code in [500, 502, 503, 504, 599, 408, 425, 429] {
            assert!(may_pass(StatusCode::from_u16(code).unwrap()), "{code}");
        }
        for code in [301, 307, 400, 401, 403, 404, 410, 413, 422] {
            assert!(!may_pass(StatusCode::from_u16(code).unwrap()), "{code}");
        }
    }
}
