//! An ingress on an embedded queue, and deliveries to send to it.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use hmac::{Hmac, Mac as _};
use http::request::Builder;
use http::{HeaderMap, Request, StatusCode};
use lockflight_fleet::embedded::{EmbeddedFleet, EmbeddedOptions};
use lockflight_fleet::{Delivery as _, Journal as _, Offset, Queue as _, Settled, Work};
use lockflight_ingress::{IngressConfig, router};
use lockflight_promotion::message::Envelope;
use lockflight_runtime::{Health, Secret, Shutdown};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::Sha256;
use tower::ServiceExt as _;

pub(crate) const SECRET: &str = "It's a Secret to Everybody";
pub(crate) const GUID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
/// Stands in every body, and must not stand in any answer or log.
pub(crate) const MARKER: &str = "Tr0ub4dor";

pub(crate) struct Ingress {
    pub(crate) fleet: EmbeddedFleet,
    pub(crate) router: Router,
    pub(crate) shutdown: Shutdown,
}

pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) fn secret(value: &str) -> Secret {
    Secret::from_value("a test", SecretString::from(value))
}

pub(crate) fn config() -> IngressConfig {
    IngressConfig::new(vec![secret(SECRET)])
}

pub(crate) async fn start() -> Ingress {
    start_with(config()).await
}

pub(crate) async fn start_with(config: IngressConfig) -> Ingress {
    let fleet = EmbeddedFleet::open_in_memory(EmbeddedOptions::default())
        .await
        .unwrap();
    let shutdown = Shutdown::new();
    let router = router(config, fleet.clone(), &Health::new(shutdown.clone())).unwrap();
    Ingress {
        fleet,
        router,
        shutdown,
    }
}

impl Ingress {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answered {
        send(&self.router, request).await
    }

    /// Sends a delivery and says what was answered; the answer must not repeat the body.
    pub(crate) async fn status_of(&self, request: Request<Body>) -> StatusCode {
        self.send(request).await.status
    }

    /// How many deliveries were stored. On the queue one may stand for equal ones, so it is the journal that is counted.
    pub(crate) async fn stored(&self) -> usize {
        self.fleet.read(Offset::START, 1_000).await.unwrap().len()
    }

    /// How many messages wait for a planner.
    pub(crate) async fn fleet_depth(&self) -> u64 {
        self.fleet.depth(Work::Plan).await.unwrap().ready
    }

    pub(crate) async fn take(&self) -> Envelope {
        let delivery = self
            .fleet
            .receive(Work::Plan, 1)
            .await
            .unwrap()
            .unwrap()
            .remove(0);
        let envelope = delivery.envelope().clone();
        assert_eq!(delivery.ack(vec![]).await.unwrap(), Settled::Done);
        envelope
    }

    /// Serves over real sockets until the test ends.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (router, shutdown) = (self.router.clone(), self.shutdown.clone());
        drop(tokio::spawn(lockflight_runtime::http::serve(
            listener, router, shutdown,
        )));
        address
    }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answered {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, 10_000).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(
        !body.to_string().contains(MARKER),
        "the answer repeats the body: {body}"
    );
    Answered {
        status: head.status,
        headers: head.headers,
        body,
    }
}

pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={:x}", mac.finalize().into_bytes())
}

/// A delivery of that event, with everything but the signature.
pub(crate) fn unsigned(event: &str) -> Builder {
    Request::post("/webhook")
        .header("content-type", "application/json")
        .header("x-github-event", event)
        .header("x-github-delivery", GUID)
}

/// A delivery as GitHub sends it.
pub(crate) fn delivery(event: &str, body: impl Into<Vec<u8>>) -> Request<Body> {
    let body = body.into();
    unsigned(event)
        .header("x-hub-signature-256", sign(SECRET, &body))
        .body(Body::from(body))
        .unwrap()
}

pub(crate) fn pull_request(body: &Value) -> Request<Body> {
    delivery("pull_request", body.to_string())
}

/// What GitHub sends of a merged pull request, cut to what has a meaning here and a few neighbours.
pub(crate) fn merged() -> Value {
    json!({
        "action": "closed",
        "number": 12,
        "pull_request": {
            "id": 191_568_743, "number": 12, "state": "closed", "title": MARKER, "body": null,
            "merged": true, "merge_commit_sha": "0123456789012345678901234567890123456789",
            "merged_by": {"login": "octocat", "id": 1}, "base": {"ref": "main"}, "head": {"ref": MARKER},
            "labels": [{"name": "promotion"}],
        },
        "repository": {
            "id": 35_129_377, "name": "gitops", "full_name": "acme/gitops", "private": true, "default_branch": "main",
            "owner": {"login": "acme", "id": 6_752_317},
        },
        "installation": {"id": 234, "node_id": "MDIz"},
        "sender": {"login": "octocat", "id": 1},
    })
}
