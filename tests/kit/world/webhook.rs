//! Webhooks that do not come from the forge, and those that come again.

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{Request, header};
use http_body_util::BodyExt as _;
use lockflight_sandbox::Delivery;
use sha2::Sha256;

use super::World;
use crate::wire::{full, send};

/// A webhook that a story sends itself.
#[derive(Clone, Debug)]
pub struct Post {
    /// `X-GitHub-Event`.
    pub event: String,
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// `X-Hub-Signature-256`; none is left out.
    pub signature: Option<String>,
    /// `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

impl World {
    /// Returns a webhook with a valid signature.
    pub fn signed(&self, event: &str, guid: &str, body: impl Into<Bytes>) -> Post {
        let body = body.into();
        Post {
            event: event.to_owned(),
            guid: guid.to_owned(),
            signature: Some(sign(&self.webhook_secret, &body)),
            content_type: "application/json".to_owned(),
            body,
        }
    }

    /// Sends a webhook to `serve`, and returns the status that it answers.
    pub async fn post(&self, post: &Post) -> u16 {
        let mut request = Request::post("/webhook")
            .header(header::HOST, self.front.address().to_string())
            .header(header::CONTENT_TYPE, &post.content_type)
            .header(header::USER_AGENT, "GitHub-Hookshot/0000000")
            .header("X-GitHub-Event", &post.event)
            .header("X-GitHub-Delivery", &post.guid);
        if let Some(signature) = &post.signature {
            request = request.header("X-Hub-Signature-256", signature);
        }
        let request = request.body(full(post.body.clone())).expect("these are headers");
        let answer = send(self.front.address(), request)
            .await
            .expect("`serve` answers");
        let status = answer.status().as_u16();
        answer
            .into_body()
            .collect()
            .await
            .expect("`serve` ends its answer");
        status
    }

    /// Returns where `serve` takes webhooks, for a story that speaks HTTP by itself.
    pub fn webhook_address(&self) -> std::net::SocketAddr {
        self.front.address()
    }

    /// Waits until the forge has tried to deliver the merge of a pull request, and returns its last attempt.
    pub async fn merge_delivery(&self, number: u64) -> Delivery {
        let what = format!("an attempt to deliver the merge of #{number}");
        self.until(&what, |forge| {
            forge.deliveries().into_iter().rev().find(|delivery| {
                let payload = || serde_json::from_slice::<serde_json::Value>(&delivery.payload);
                delivery.event == "pull_request"
                    && delivery.action.as_deref() == Some("closed")
                    && payload().is_ok_and(|payload| payload["pull_request"]["number"] == number)
            })
        })
        .await
    }

    /// Presses *Redeliver* on the merge of a pull request, and waits until `serve` has taken it.
    pub async fn redeliver_merge(&self, number: u64) {
        let delivery = self.merge_delivery(number).await;
        self.forge
            .redeliver(delivery.id)
            .expect("the forge knows its own delivery");
        self.until(&format!("the redelivery of the merge of #{number}"), |forge| {
            let attempts = forge.deliveries();
            let again = |other: &&Delivery| {
                other.guid == delivery.guid && other.id > delivery.id && other.succeeded()
            };
            attempts.iter().find(again).map(|_| ())
        })
        .await;
    }

    /// Returns the number of the repository's or the App's webhook.
    pub const fn hook(&self) -> u64 {
        self.hook
    }
}

/// Returns the value of `X-Hub-Signature-256`.
pub(super) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(body);
    let hex: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256={hex}")
}
