//! What GitHub documents, as a judge of what we ask, what the sandbox answers, and what it sends.
//!
//! The descriptions are cut out of GitHub's own (see `tests/fixtures/subset.py`). A judgement is a list of
//! [`Violation`]s; an empty list means that nothing documented is broken. It says nothing about behaviour: a forge that
//! answers every question in the right shape and wrongly passes.

mod convert;
mod rest;
mod route;
mod schema;
mod webhook;

pub use webhook::signature;

use std::fmt;
use std::sync::LazyLock;

use http::HeaderMap;
use serde_json::Value;

/// Statuses that any GitHub operation may answer though few list them.
///
/// 401, 403 and 404 come from authentication and permissions, 409 and 422 from the state of things, 429 from the
/// secondary rate limit, 5xx from the weather.
pub const UNDOCUMENTED_BUT_REAL: [u16; 6] = [401, 403, 404, 409, 422, 429];

/// Which side of a connection broke a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client asked what GitHub does not document.
    Request,
    /// The forge answered what GitHub would not.
    Response,
    /// The forge sent a webhook that GitHub would not.
    Webhook,
}

/// One difference from what GitHub documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Who broke the rule.
    pub side: Side,
    /// What was going on: `POST /repos/o/r/pulls -> 201`, or `webhook pull_request/closed`.
    pub exchange: String,
    /// A JSON pointer into the body, or the name of a parameter or header; empty for the whole.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Request => "request",
            Side::Response => "response",
            Side::Webhook => "payload",
        };
        write!(
            formatter,
            "{}: {side} {}: {}",
            self.exchange, self.place, self.message
        )
    }
}

/// Lists violations one a line, each kind once with the number of times it was seen.
pub fn report(violations: &[Violation]) -> String {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for violation in violations {
        let line = violation.to_string();
        match lines.iter_mut().find(|(seen, _)| *seen == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    lines
        .into_iter()
        .map(|(line, count)| {
            if count == 1 {
                line
            } else {
                format!("{line} ({count} times)")
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// GitHub's descriptions, loaded.
#[derive(Debug)]
pub struct Validator {
    rest: rest::Rest,
    webhooks: webhook::Webhooks,
}

impl Validator {
    /// Returns the one validator of this process; its schemas are compiled as they are needed.
    pub fn github() -> &'static Self {
        static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| Validator {
            rest: rest::Rest::new(include_str!("../../fixtures/github-openapi-subset.json")),
            webhooks: webhook::Webhooks::new(include_str!("../../fixtures/github-webhooks-subset.json")),
        });
        &VALIDATOR
    }

    /// Judges one exchange.
    ///
    /// The path is GitHub's, without the `/api/v3` of an Enterprise Server; the query is raw, without `?`.
    pub fn check(
        &self,
        method: &str,
        path: &str,
        query: &str,
        request_body: &[u8],
        status: u16,
        response_body: &[u8],
    ) -> Vec<Violation> {
        let mut found = self.check_request(method, path, query, request_body);
        found.extend(self.check_response(method, path, status, response_body));
        found
    }

    /// Judges what a client asks.
    pub fn check_request(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Vec<Violation> {
        self.rest.check_request(method, path, query, body)
    }

    /// Judges what a forge answers, where the client takes JSON.
    pub fn check_response(&self, method: &str, path: &str, status: u16, body: &[u8]) -> Vec<Violation> {
        self.rest.check_response(method, path, status, body)
    }

    /// Returns the operation that a request means, such as `GET /repos/{owner}/{repo}/git/ref/{ref}`.
    pub fn operation(&self, method: &str, path: &str) -> Option<&str> {
        self.rest.operation(method, path)
    }

    /// Returns every operation of the description.
    pub fn operations(&self) -> Vec<&str> {
        self.rest.operations()
    }

    /// Judges a webhook payload; `event` is the value of `X-GitHub-Event`.
    pub fn check_webhook(&self, event: &str, payload: &Value) -> Vec<Violation> {
        self.webhooks.check_payload(event, payload)
    }

    /// Judges a whole delivery: the headers that GitHub sends with each, the signature over the raw body, the payload.
    pub fn check_delivery(&self, headers: &HeaderMap, body: &[u8], secret: &[u8]) -> Vec<Violation> {
        self.webhooks.check_delivery(headers, body, secret)
    }
}
