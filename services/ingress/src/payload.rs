//! What a delivery says, once its signature fits.
//!
//! The headers are not signed, so a body that was signed for one event might be sent again under the name of another. Each event is therefore
//! read as the shape that only this event has.

use std::borrow::Cow;

use self::push::Pushed;
use http::{HeaderMap, HeaderValue, header};
use lockflight_promotion::change::Repository;
use lockflight_promotion::message::{DeliveryV1, PullRequestHint, Sender};
use lockflight_promotion::plan::BRANCHES;
use lockflight_promotion::{CommitOid, DeliveryId, InstallationId, Login, PrNumber, RepoId, RepoName};
use serde::Deserialize;
use serde::de::IgnoredAny;

pub(crate) mod push;

/// The label that asks for a plan, as Telefonistka names it.
const SHOW_PLAN: &str = "show-plan";

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
    /// A push to the default branch, which may have to be passed on.
    Push { repo: Repository, push: Pushed },
    /// Something that a planner is to look at. The event and the hash of the body are yet to be filled in.
    Told {
        repo: Repository,
        delivery: Box<DeliveryV1>,
    },
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

/// Reads the raw body as the event that the headers claim. Whether pushes mean anything, is said.
pub(crate) fn read(
    event: &str,
    encoding: Encoding,
    raw: &[u8],
    forwards: bool,
) -> Result<Meaning, Unreadable> {
    let json = match encoding {
        Encoding::Json => Cow::Borrowed(raw),
        Encoding::Form => Cow::Owned(form_payload(raw)?),
    };
    match event {
        "ping" => shape::<Ping>(&json).map(|_| Meaning::Ping),
        "pull_request" => shape::<PullRequestEvent<'_>>(&json)?.meaning(),
        "issue_comment" => shape::<CommentEvent<'_>>(&json)?.meaning(),
        "push" if forwards => push::meaning(&json, raw),
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
    #[serde(borrow)]
    pull_request: PullRequest<'j>,
    label: Option<Label>,
    changes: Option<Changes>,
    #[serde(borrow)]
    repository: RepositoryOf<'j>,
    installation: Option<Installation>,
    sender: Option<Account>,
}

/// What an edit has changed.
#[derive(Deserialize)]
struct Changes {
    base: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct PullRequest<'j> {
    number: u64,
    merged: Option<bool>,
    #[serde(borrow)]
    head: Option<Head<'j>>,
}

#[derive(Deserialize)]
struct Head<'j> {
    #[serde(borrow)]
    sha: Option<Cow<'j, str>>,
    #[serde(borrow, rename = "ref")]
    branch: Option<Cow<'j, str>>,
}

impl PullRequest<'_> {
    /// Whether it may be a promotion, by the name of its branch.
    fn may_promote(&self) -> bool {
        let branch = self.head.as_ref().and_then(|head| head.branch.as_deref());
        branch.is_some_and(|branch| branch.starts_with(BRANCHES))
    }
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#issue_comment>.
#[derive(Deserialize)]
struct CommentEvent<'j> {
    #[serde(borrow)]
    action: Cow<'j, str>,
    issue: Issue,
    comment: Comment,
    #[serde(borrow)]
    repository: RepositoryOf<'j>,
    installation: Option<Installation>,
    sender: Option<Account>,
}

/// An issue or, where it has a `pull_request`, a pull request.
#[derive(Deserialize)]
struct Issue {
    number: u64,
    pull_request: Option<Merged>,
}

#[derive(Deserialize)]
struct Merged {
    merged_at: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    id: u64,
    login: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Account {
    fn is_bot(&self) -> bool {
        self.kind.as_deref() == Some("Bot")
    }

    fn sender(self) -> Option<Sender> {
        let login = Login::parse(self.login).ok()?;
        Some(Sender { id: self.id, login })
    }
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

impl RepositoryOf<'_> {
    fn repository(&self, installation: Option<Installation>) -> Result<Repository, Unreadable> {
        Ok(Repository {
            id: RepoId::new(self.id),
            name: RepoName::parse(&self.full_name).map_err(|_odd| Unreadable::Content)?,
            installation: installation.map(|installation| InstallationId::new(installation.id)),
        })
    }
}

impl PullRequestEvent<'_> {
    fn meaning(self) -> Result<Meaning, Unreadable> {
        let repo = self.repository.repository(self.installation)?;
        if self.number != self.pull_request.number {
            return Err(Unreadable::Content);
        }
        let (number, merged) = (PrNumber::new(self.number), self.pull_request.merged == Some(true));
        let delivery = match (self.action.as_ref(), self.label) {
            ("closed", _) if merged => DeliveryV1::merged(number, String::new()),
            // A promotion that people closed ends the wait of the change that it is of.
            ("closed", _) if self.pull_request.may_promote() => DeliveryV1 {
                pull_request: Some(PullRequestHint { number, merged }),
                ..DeliveryV1::merged(number, String::new())
            },
            ("labeled", Some(label)) if label.name == SHOW_PLAN => DeliveryV1 {
                action: Some("labeled".to_owned()),
                pull_request: Some(PullRequestHint { number, merged }),
                label: Some(label.name),
                sender: self.sender.and_then(Account::sender),
                head: self
                    .pull_request
                    .head
                    .and_then(|head| CommitOid::parse(head.sha?).ok()),
                ..DeliveryV1::merged(number, String::new())
            },
            // Where it goes is told beforehand; a promotion says so itself.
            (action, _)
                if !merged
                    && !self.pull_request.may_promote()
                    && may_lead_elsewhere(action, self.changes.as_ref()) =>
            {
                DeliveryV1 {
                    action: Some(action.to_owned()),
                    pull_request: Some(PullRequestHint { number, merged }),
                    head: self
                        .pull_request
                        .head
                        .and_then(|head| CommitOid::parse(head.sha?).ok()),
                    ..DeliveryV1::merged(number, String::new())
                }
            }
            _ => return Ok(Meaning::Nothing("nothing is done about this of a pull request")),
        };
        let delivery = Box::new(delivery);
        Ok(Meaning::Told { repo, delivery })
    }
}

/// Whether an open pull request may go elsewhere after this than before.
fn may_lead_elsewhere(action: &str, changes: Option<&Changes>) -> bool {
    match action {
        "opened" | "synchronize" | "reopened" | "labeled" | "unlabeled" => true,
        "edited" => changes.is_some_and(|changes| changes.base.is_some()),
        _ => false,
    }
}

impl CommentEvent<'_> {
    /// A comment that can't be a command is not passed on. What it says is read again by whoever acts on it.
    fn meaning(self) -> Result<Meaning, Unreadable> {
        let repo = self.repository.repository(self.installation)?;
        let Some(pull_request) = self.issue.pull_request else {
            return Ok(Meaning::Nothing("it is about an issue"));
        };
        let is_command = self
            .comment
            .body
            .is_some_and(|body| body.trim_start().starts_with('/'));
        if self.action != "created" || !is_command || self.sender.as_ref().is_some_and(Account::is_bot) {
            return Ok(Meaning::Nothing(
                "only a new comment of a person that begins with / is looked at",
            ));
        }
        let number = PrNumber::new(self.issue.number);
        let merged = pull_request.merged_at.is_some();
        let delivery = Box::new(DeliveryV1 {
            action: Some("created".to_owned()),
            pull_request: Some(PullRequestHint { number, merged }),
            comment: Some(self.comment.id),
            sender: self.sender.and_then(Account::sender),
            ..DeliveryV1::merged(number, String::new())
        });
        Ok(Meaning::Told { repo, delivery })
    }
}
