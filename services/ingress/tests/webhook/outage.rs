//! What happens when the queue does not confirm, and what the log says.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use lockflight_fleet::embedded::{EmbeddedDelivery, EmbeddedFleet, EmbeddedOptions};
use lockflight_fleet::{
    BackendError, Depth, InspectError, Parked, ParkedId, PublishError, Queue, ReceiveError, Work,
};
use lockflight_ingress::router;
use lockflight_promotion::message::Envelope;
use lockflight_runtime::{Health, Shutdown};
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::*;

/// A queue whose publishing goes wrong in one way.
#[derive(Clone)]
struct Faulty {
    inner: EmbeddedFleet,
    fault: Fault,
}

#[derive(Clone, Copy)]
enum Fault {
    Fails,
    Hangs,
    Panics,
}

impl Queue for Faulty {
    type Delivery = EmbeddedDelivery;

    async fn publish(&self, _: &[Envelope]) -> Result<(), PublishError> {
        match self.fault {
            Fault::Fails => Err(PublishError::Backend(BackendError::new("disk full"))),
            Fault::Hangs => std::future::pending().await,
            Fault::Panics => std::panic::resume_unwind(Box::new("no luck")),
        }
    }

    async fn receive(&self, work: Work, most: usize) -> Result<Option<Vec<EmbeddedDelivery>>, ReceiveError> {
        self.inner.receive(work, most).await
    }

    async fn depth(&self, work: Work) -> Result<Depth, InspectError> {
        self.inner.depth(work).await
    }

    async fn parked(&self) -> Result<Vec<Parked>, InspectError> {
        self.inner.parked().await
    }

    async fn release(&self, id: &ParkedId) -> Result<bool, InspectError> {
        self.inner.release(id).await
    }
}

async fn answer_of(fault: Fault) -> Answered {
    let faulty = Faulty {
        inner: EmbeddedFleet::open_in_memory(EmbeddedOptions::default())
            .await
            .unwrap(),
        fault,
    };
    let mut config = config();
    config.publish_timeout = Duration::from_millis(50);
    let router = router(config, faulty, &Health::new(Shutdown::new())).unwrap();
    send(&router, pull_request(&merged())).await
}

#[tokio::test]
async fn a_delivery_that_the_queue_does_not_confirm_in_time_is_a_503() {
    for fault in [Fault::Fails, Fault::Hangs] {
        let answered = answer_of(fault).await;
        assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answered.headers["retry-after"], "30");
        assert_eq!(answered.body["status"], "unavailable");
        assert_eq!(answered.body["delivery"], GUID);
    }
}

#[tokio::test]
async fn a_mistake_of_ours_is_a_500() {
    let answered = answer_of(Fault::Panics).await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answered.body["status"], "broken");
}

#[tokio::test]
async fn a_queue_that_was_shut_down_is_a_503_and_a_hundred_in_parallel_are_all_stored() {
    let ingress = start().await;
    let sent = (0..100).map(|_| ingress.status_of(pull_request(&merged())));
    // More may be in hand at once than are taken; those that are turned away say so and come again.
    let answered = futures::future::join_all(sent).await;
    let accepted = answered
        .iter()
        .filter(|status| **status == StatusCode::ACCEPTED)
        .count();
    let busy = answered
        .iter()
        .filter(|status| **status == StatusCode::SERVICE_UNAVAILABLE)
        .count();
    assert_eq!(accepted + busy, 100);
    assert!(accepted >= 64, "{accepted}");
    assert_eq!(ingress.stored().await, accepted);
    ingress.fleet.stop().await;
    assert_eq!(
        ingress.status_of(pull_request(&merged())).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn health_and_readiness_stand_beside_the_webhook() {
    let ingress = start().await;
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(ingress.status_of(get("/healthz")).await, StatusCode::OK);
    assert_eq!(ingress.status_of(get("/readyz")).await, StatusCode::OK);
    ingress.shutdown.begin_drain();
    assert_eq!(ingress.status_of(get("/healthz")).await, StatusCode::OK);
    let answered = ingress.send(get("/readyz")).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answered.body["status"], "draining");
    // What GitHub still sends to this process is stored all the same.
    assert_eq!(
        ingress.status_of(pull_request(&merged())).await,
        StatusCode::ACCEPTED
    );
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;
    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_names_the_delivery_and_never_the_body_or_the_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    // With a single subscriber in the process, tracing asks the thread that first meets an event whether anybody listens: that may be a
    // thread of another test, where nobody does. A second one makes it ask them all.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _default = tracing::subscriber::set_default(subscriber);
    let ingress = start().await;
    assert_eq!(
        ingress.status_of(pull_request(&merged())).await,
        StatusCode::ACCEPTED
    );
    let bad = delivery("pull_request", format!("{{\"action\": {{\"{MARKER}\": 1}}}}"));
    assert_eq!(ingress.status_of(bad).await, StatusCode::BAD_REQUEST);
    let forged = unsigned("pull_request")
        .header("x-hub-signature-256", format!("sha256={}", "0".repeat(64)))
        .body(Body::from(MARKER))
        .unwrap();
    assert_eq!(ingress.status_of(forged).await, StatusCode::UNAUTHORIZED);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains(GUID) && text.contains("acme/gitops"), "{text}");
    assert!(!text.contains(MARKER), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}
