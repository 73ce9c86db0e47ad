//! Webhooks: who gets them, what was sent, and what can be made to go wrong on the way.

mod deliver;
pub(crate) mod payload;

use std::time::Duration;

use crate::clock::Timestamp;

pub use deliver::WebhookFaults;
pub(crate) use deliver::{DeliveryQueue, check_url, redeliver};

/// What a webhook belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookTarget {
    /// One repository, `owner/name`.
    Repository(String),
    /// All repositories that an App is installed on, by the App's id.
    App(u64),
}

impl HookTarget {
    /// Returns the target for one repository.
    #[must_use]
    pub fn repository(name: impl Into<String>) -> Self {
        Self::Repository(name.into())
    }
}

impl From<&str> for HookTarget {
    fn from(name: &str) -> Self {
        Self::repository(name)
    }
}

/// A webhook that is set up.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) id: u64,
    pub(crate) target: HookTarget,
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) events: Vec<String>,
    pub(crate) created_at: Timestamp,
}

impl Hook {
    pub(crate) fn wants(&self, event: &str) -> bool {
        event == "ping" || self.events.iter().any(|wanted| wanted == "*" || wanted == event)
    }
}

/// One attempt to deliver a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The id of this attempt.
    pub id: u64,
    /// The id of what is delivered: the same for every attempt (`X-GitHub-Delivery`).
    pub guid: String,
    /// The webhook.
    pub hook: u64,
    /// What the webhook belongs to.
    pub target: HookTarget,
    /// The event (`X-GitHub-Event`).
    pub event: String,
    /// The event's action, where it has one.
    pub action: Option<String>,
    /// The installation, where it went to an App.
    pub installation: Option<u64>,
    /// The repository it is about.
    pub repository_id: Option<u64>,
    /// Where it went.
    pub url: String,
    /// The headers that were sent, without the signature.
    pub request_headers: Vec<(String, String)>,
    /// The bytes that were sent.
    pub payload: bytes::Bytes,
    /// When the attempt ended.
    pub delivered_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// `OK`, or what went wrong.
    pub status: String,
    /// The receiver's status, or 0 where there was no answer.
    pub status_code: u16,
    /// The receiver's headers.
    pub response_headers: Vec<(String, String)>,
    /// The beginning of the receiver's answer.
    pub response_body: String,
    /// Whether somebody asked for this attempt.
    pub redelivery: bool,
}

impl Delivery {
    /// Tells whether the receiver took it.
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        self.status_code >= 200 && self.status_code < 300
    }
}
