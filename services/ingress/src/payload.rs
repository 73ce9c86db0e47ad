//! What a delivery says, once its signature fits.
//!
//! The headers are not signed, so a body that was signed for one event might be sent again under the name of another. Each event is therefore
//! read as the shape that only this event has.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};
use lockflight_promotion::change::Repository;
use lockflight_promotion::message::PullRequestHint;
use lockflight_promotion::{DeliveryId, InstallationId, PrNumber, RepoId, RepoName};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// How the body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As `application/json`.
    Json,
    /// As `application/x-www-form-urlencoded`, in the field `payload`.
    Form,
}

/// The unsigned headers that say what the delivery is.
pub(crate) struct Claimed {
    pub(crate) event: String,
    pub(crate) delivery: DeliveryId,
    pub(crate) encoding: Encoding,
}

/// Why a delivery that is signed can't be read. Nothing of it is repeated in the message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it needs exactly one {0} header as GitHub sends it")]
    Header(&'static str),
    #[error("its Content-Type has to be application/json or application/x-www-form-urlencoded")]
    ContentType,
    #[error("its form has to have exactly one field `payload`")]
    Form,
    #[error("its body is not JSON (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error(
        "its body is not that of the event its X-GitHub-Event header names (line {line}, column {column})"
    )]
    Shape { line: usize, column: usize },
    #[error("its body contradicts itself or has names that GitHub does not give")]
    Content,
}

/// What a delivery means to us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// GitHub tries the webhook out.
    Ping,
    /// Nothing, and why.
    Nothing(&'static str),
    /// A pull request was merged.
    Merged { repo: Repository, hint: PullRequestHint },
}

impl Claimed {
    pub(crate) fn find(headers: &HeaderMap) -> Result<Self, Unreadable> {
        const EVENT: &str = "X-GitHub-Event";
        const DELIVERY: &str = "X-GitHub-Delivery";
        let event = only(headers, "x-github-event").ok_or(Unreadable::Header(EVENT))?;
        let name = |b: u8| b.is_ascii_lowercase() || b == b'_';
        if event.is_empty() || event.len() > 64 || !event.bytes().all(name) {
            return Err(Unreadable::Header(EVENT));
        }
        let delivery = only(headers, "x-github-delivery").ok_or(Unreadable::Header(DELIVERY))?;
        let delivery = DeliveryId::parse(delivery).map_err(|_odd| Unreadable::Header(DELIVERY))?;
        Ok(Self {
            event: event.to_owned(),
            delivery,
            encoding: encoding(headers)?,
        })
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(HeaderValue::to_str)?.ok()?;
    values.next().is_none().then_some(value)
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Unreadable> {
    let value = only(headers, header::CONTENT_TYPE.as_str()).ok_or(Unreadable::ContentType)?;
    let kind = value.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(Encoding::Json)
    } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Ok(Encoding::Form)
    } else {
        Err(Unreadable::ContentType)
    }
}

/// Reads the raw body as the event that the headers claim.
pub(crate) fn read(event: &str, encoding: Encoding, raw: &[u8]) -> Result<Meaning, Unreadable> {
    let json = match encoding {
        Encoding::Json => Cow::Borrowed(raw),
        Encoding::Form => Cow::Owned(form_payload(raw)?),
    };
    match event {
        "ping" => shape::<Ping>(&json).map(|_| Meaning::Ping),
        "pull_request" => shape::<PullRequestEvent<'_>>(&json)?.meaning(),
        _ => proven(&json).map(|()| Meaning::Nothing("nothing is done about this event")),
    }
}

/// Whether it is JSON at all.
fn proven(json: &[u8]) -> Result<(), Unreadable> {
    let proof = serde_json::from_slice::<IgnoredAny>(json);
    proof.map(drop).map_err(|error| Unreadable::Json {
        line: error.line(),
        column: error.column(),
    })
}

fn form_payload(raw: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut payloads = form_urlencoded::parse(raw).filter(|(name, _)| name == "payload");
    match (payloads.next(), payloads.next()) {
        (Some((_, payload)), None) => Ok(payload.into_owned().into_bytes()),
        _ => Err(Unreadable::Form),
    }
}

fn shape<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(json).or_else(|error| {
        // A broken body is never called one of another shape.
        proven(json)?;
        Err(Unreadable::Shape {
            line: error.line(),
            column: error.column(),
        })
    })
}

/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#ping>
#[derive(Deserialize)]
struct Ping {
    #[serde(rename = "hook_id")]
    _hook_id: u64,
}

/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#pull_request>. The events about reviews have a `pull_request`
/// too, but no `number` beside it.
#[derive(Deserialize)]
struct PullRequestEvent<'j> {
    #[serde(borrow)]
    action: Cow<'j, str>,
    number: u64,
    pull_request: PullRequest,
    #[serde(borrow)]
    repository: RepositoryOf<'j>,
    installation: Option<Installation>,
}

#[derive(Deserialize)]
struct PullRequest {
    number: u64,
    merged: Option<bool>,
}

#[derive(Deserialize)]
struct RepositoryOf<'j> {
    id: u64,
    #[serde(borrow)]
    full_name: Cow<'j, str>,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

impl PullRequestEvent<'_> {
    fn meaning(self) -> Result<Meaning, Unreadable> {
        let name = RepoName::parse(&self.repository.full_name).map_err(|_odd| Unreadable::Content)?;
        if self.number != self.pull_request.number {
            return Err(Unreadable::Content);
        }
        if self.action != "closed" || self.pull_request.merged != Some(true) {
            return Ok(Meaning::Nothing("only a merged pull request sets something off"));
        }
        Ok(Meaning::Merged {
            repo: Repository {
                id: RepoId::new(self.repository.id),
                name,
                installation: self
                    .installation
                    .map(|installation| InstallationId::new(installation.id)),
            },
            hint: PullRequestHint {
                number: PrNumber::new(self.number),
                merged: true,
            },
        })
    }
}
