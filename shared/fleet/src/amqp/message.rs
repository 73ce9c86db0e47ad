//! Messages on the wire: properties, headers, and bodies that are compressed when they are large.
//!
//! What the queue knows of a message stands in headers, so that it can be put back without its body being read: `x-lockflight-repo`,
//! `-failed` and `-lost` (how often), `-due` and `-published` (milliseconds since 1970), `-reason`; on parked ones also `-key` (the routing
//! key that it goes back with), `-parked-at` and `-parked-id`. The broker's own counts, which differ between its
//! versions, only make suspects (see `trials`).

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use lapin::Acker;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lockflight_promotion::RepoId;
use lockflight_promotion::message::{Body, Envelope};

use super::acknowledge::acknowledge;
use super::intake::Feed;
use super::names::{Names, partition_of};
use super::trials::Arrived;
use crate::{BackendError, Content, JournalError, ParkedId, PublishError, SettleError, Work};

/// Larger bodies are compressed.
const COMPRESS_ABOVE: usize = 256 * 1024;

/// No body is larger than this, uncompressed: what would be is malformed.
const LARGEST_BODY: u64 = 256 << 20;

/// Reasons are for people: longer ones are cut.
const REASON_CHARS: usize = 2_000;

const DEFLATE: &str = "deflate";
const PERSISTENT: u8 = 2;

pub(super) const REPO: &str = "x-lockflight-repo";
pub(super) const FAILED: &str = "x-lockflight-failed";
pub(super) const LOST: &str = "x-lockflight-lost";
pub(super) const DUE: &str = "x-lockflight-due";
pub(super) const PUBLISHED: &str = "x-lockflight-published";
pub(super) const REASON: &str = "x-lockflight-reason";
pub(super) const KEY: &str = "x-lockflight-key";
pub(super) const PARKED_AT: &str = "x-lockflight-parked-at";
/// The name by which a parked message is released.
pub(super) const PARKED_ID: &str = "x-lockflight-parked-id";
/// The id of one publish, by which a message that the broker returns is known.
pub(super) const PUBLISH: &str = "x-lockflight-publish";

/// The key of a message that is for nobody.
pub(super) const PROBE: &str = "probe";

/// A message to publish.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) body: Bytes,
    pub(super) properties: BasicProperties,
    /// Whether the journal's stream is among the queues that it goes to. See `outbox`.
    pub(super) journaled: bool,
}

/// Why a message can't be published at all.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It has no form as bytes.
    Encode(serde_json::Error),
    /// It is larger than the broker takes, compressed.
    TooLarge { bytes: usize, limit: usize },
}

impl From<Unfit> for PublishError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Encode(error) => Self::Encode(error),
            Unfit::TooLarge { bytes, limit } => Self::TooLarge { bytes, limit },
        }
    }
}

impl From<Unfit> for SettleError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Encode(error) => Self::Encode(error),
            Unfit::TooLarge { bytes, limit } => Self::TooLarge { bytes, limit },
        }
    }
}

impl From<Unfit> for JournalError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Encode(error) => Self::Encode(error),
            Unfit::TooLarge { bytes, limit } => {
                Self::Backend(BackendError::new(PublishError::TooLarge { bytes, limit }))
            }
        }
    }
}

/// A message that came, and what its headers say. A header that is missing or odd counts as zero: a message is never refused for it.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The kind of work, by the routing key; none for what is no work.
    pub(super) work: Option<Work>,
    pub(super) repo: RepoId,
    pub(super) content: Content,
    pub(super) failed: u32,
    pub(super) lost: u32,
    /// When it is due, in milliseconds since 1970; none if it is now.
    pub(super) due: Option<i64>,
    /// When it was first published, in milliseconds since 1970.
    pub(super) published: i64,
    pub(super) reason: Option<String>,
    /// Whether the broker handed it out before, to whomever.
    pub(super) redelivered: bool,
    /// How often the broker says that it took it back, if it does. Only a hint: versions count differently.
    pub(super) delivery_count: Option<u32>,
    /// The key that it was first published with.
    pub(super) routing_key: ShortString,
    /// The body as it came, perhaps compressed.
    pub(super) body: Bytes,
    pub(super) properties: BasicProperties,
    pub(super) acker: Acker,
    /// The consumer that brought it.
    pub(super) feed: Option<Arc<Feed>>,
    /// One of what its consumer's window holds, as long as it lives.
    pub(super) window: Option<Arc<()>>,
    claim: Mutex<Claim>,
}

/// By what right a message is ours.
#[derive(Debug)]
enum Claim {
    /// The broker gave it to us.
    Given,
    /// The same, while a copy of it is published, which may come before it is confirmed.
    Copying(Option<Arc<Incoming>>),
    /// A copy of it took its place, which is ours once it is here.
    Copied(Option<Arc<Incoming>>),
    /// It was settled before its copy came.
    Owed,
    /// It was settled.
    Settled,
}

/// Where a message goes next, and with which counts.
#[derive(Clone, Debug)]
pub(super) struct Standing<'a> {
    pub(super) failed: u32,
    pub(super) lost: u32,
    /// When it is due, in milliseconds since 1970; none if it is now.
    pub(super) due: Option<i64>,
    pub(super) reason: Option<&'a str>,
}

impl Outgoing {
    /// A new message, for the exchange that all of them go to.
    pub(super) fn event(envelope: &Envelope, names: &Names, limit: usize) -> Result<Self, Unfit> {
        let exchange = names.events().into();
        Self::new(envelope, exchange, routing_key(envelope, names), limit)
    }

    /// A record for the journal alone.
    pub(super) fn record(envelope: &Envelope, names: &Names, limit: usize) -> Result<Self, Unfit> {
        Self::new(envelope, "".into(), names.journal().into(), limit)
    }

    fn new(
        envelope: &Envelope,
        exchange: ShortString,
        routing_key: ShortString,
        limit: usize,
    ) -> Result<Self, Unfit> {
        let json = serde_json::to_vec(envelope).map_err(Unfit::Encode)?;
        let now = now_millis();
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(short(envelope.id.as_str()))
            .with_correlation_id(short(envelope.delivery.as_str()))
            .with_timestamp(u64::try_from(now / 1_000).unwrap_or(0))
            .with_type(tag(&envelope.body).into())
            .with_app_id("lockflight".into());
        let body = if json.len() > COMPRESS_ABOVE {
            properties = properties.with_content_encoding(DEFLATE.into());
            deflate(&json)
        } else {
            json
        };
        if body.len() > limit {
            return Err(Unfit::TooLarge {
                bytes: body.len(),
                limit,
            });
        }
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), text(envelope.traceparent.as_str()));
        headers.insert(
            REPO.into(),
            AMQPValue::LongLongInt(envelope.repo.id.get().cast_signed()),
        );
        headers.insert(PUBLISHED.into(), AMQPValue::LongLongInt(now));
        Ok(Self {
            exchange,
            routing_key,
            body: body.into(),
            properties: properties.with_headers(headers),
            // Every other kind of message is bound to it, at the one exchange or the other.
            journaled: envelope.is_journaled(),
        })
    }

    /// A message that came, on its way to a rung of the retry ladder.
    pub(super) fn retry(incoming: &Incoming, names: &Names, rung: usize, standing: &Standing<'_>) -> Self {
        Self::again(incoming, names.retry(rung).into(), standing)
    }

    /// A message that came, on its way back to its queue, at once.
    pub(super) fn back(incoming: &Incoming, names: &Names, standing: &Standing<'_>) -> Self {
        Self::again(incoming, names.work().into(), standing)
    }

    /// A message that came, to be kept until a person releases it. `standing` says how often it was tried, and why it is parked.
    pub(super) fn parked(incoming: &Incoming, names: &Names, standing: &Standing<'_>) -> Self {
        let mut parked = Self::again(incoming, "".into(), standing);
        let mut headers = headers_of(&parked.properties);
        headers.insert(KEY.into(), text(incoming.routing_key.as_str()));
        let now = now_millis();
        headers.insert(PARKED_AT.into(), AMQPValue::LongLongInt(now));
        headers.insert(PARKED_ID.into(), text(&id_of(&incoming.body)));
        parked.properties = parked.properties.with_headers(headers);
        parked.routing_key = names.parked().into();
        parked
    }

    fn again(incoming: &Incoming, exchange: ShortString, standing: &Standing<'_>) -> Self {
        let mut headers = FieldTable::default();
        for (name, value) in headers_of(&incoming.properties).inner() {
            // What the broker adds on the way (`x-death` and the like) is neither needed nor taken by every version.
            let brokers = name.as_str().starts_with("x-") && !name.as_str().starts_with("x-lockflight-");
            if !brokers
                && !matches!(
                    name.as_str(),
                    FAILED | LOST | DUE | REASON | KEY | PARKED_AT | PARKED_ID | PUBLISH
                )
            {
                headers.insert(name.clone(), value.clone());
            }
        }
        headers.insert(FAILED.into(), AMQPValue::LongLongInt(standing.failed.into()));
        headers.insert(LOST.into(), AMQPValue::LongLongInt(standing.lost.into()));
        if let Some(due) = standing.due {
            headers.insert(DUE.into(), AMQPValue::LongLongInt(due));
        }
        if let Some(reason) = standing.reason {
            headers.insert(REASON.into(), text(&cut(reason)));
        }
        headers.insert(PUBLISHED.into(), AMQPValue::LongLongInt(incoming.published));
        headers.insert(
            REPO.into(),
            AMQPValue::LongLongInt(incoming.repo.get().cast_signed()),
        );
        Self {
            exchange,
            routing_key: incoming.routing_key.clone(),
            body: incoming.body.clone(),
            properties: incoming
                .properties
                .clone()
                .with_delivery_mode(PERSISTENT)
                .with_headers(headers),
            journaled: false,
        }
    }

    /// A message that is for nobody: the exchanges have to bring it to the queue that refuses everything.
    pub(super) fn probe(names: &Names) -> Self {
        Self {
            exchange: names.events().into(),
            routing_key: PROBE.into(),
            body: Bytes::new(),
            properties: BasicProperties::default().with_delivery_mode(PERSISTENT),
            journaled: false,
        }
    }

    /// Bytes as they are, for a work queue: for tests of what can't be read.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn raw(work: Work, repo: RepoId, bytes: Vec<u8>, names: &Names) -> Self {
        let key = match work {
            Work::Plan => "delivery.raw".to_owned(),
            Work::Steps => names.step_key("step.raw", repo),
            Work::Forward => "forward.raw".to_owned(),
        };
        let mut headers = FieldTable::default();
        headers.insert(REPO.into(), AMQPValue::LongLongInt(repo.get().cast_signed()));
        Self {
            exchange: names.work().into(),
            routing_key: short(&key),
            body: bytes.into(),
            properties: BasicProperties::default()
                .with_delivery_mode(PERSISTENT)
                .with_headers(headers),
            journaled: false,
        }
    }
}

impl Incoming {
    /// Reads what came.
    pub(super) fn read(delivery: Delivery) -> Self {
        let Delivery {
            routing_key,
            redelivered,
            properties,
            data,
            acker,
            ..
        } = delivery;
        let content = read_body(&properties, &data);
        let headers = properties.headers();
        let number = |name: &str| headers.as_ref().and_then(|table| integer(table, name));
        let counted = |name: &str| {
            number(name)
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(0)
        };
        // A parked message has another key than the one that it goes back with.
        let original = headers.as_ref().and_then(|table| string(table, KEY));
        let routing_key = original.map_or(routing_key, |key| short(&key));
        let repo = number(REPO)
            .map(|id| RepoId::new(id.cast_unsigned()))
            .or_else(|| content.envelope().map(|envelope| envelope.repo.id))
            .unwrap_or(RepoId::new(0));
        let timestamp = properties
            .timestamp()
            .and_then(|seconds| i64::try_from(seconds).ok());
        Self {
            work: Work::of_key(routing_key.as_str()),
            repo,
            content,
            failed: counted(FAILED),
            lost: counted(LOST),
            due: number(DUE),
            published: number(PUBLISHED)
                .or_else(|| timestamp.map(|seconds| seconds.saturating_mul(1_000)))
                .unwrap_or_else(now_millis),
            reason: headers.as_ref().and_then(|table| string(table, REASON)),
            redelivered,
            // RabbitMQ 4.3 counts what it handed out and took back by itself in another header
            // (<https://github.com/rabbitmq/rabbitmq-server/discussions/18226>).
            delivery_count: ["x-delivery-count", "x-acquired-count"]
                .into_iter()
                .filter_map(&number)
                .map(|count| u32::try_from(count).unwrap_or(0))
                .max(),
            routing_key,
            body: data.into(),
            acker,
            properties,
            feed: None,
            window: None,
            claim: Mutex::new(Claim::Given),
        }
    }

    fn claim(&self) -> MutexGuard<'_, Claim> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can still be settled.
    pub(super) fn is_ours(&self) -> bool {
        match *self.claim() {
            Claim::Given | Claim::Copying(_) => self.acker.usable(),
            Claim::Copied(_) => true,
            Claim::Owed | Claim::Settled => false,
        }
    }

    /// Acknowledges it, or the copy that took its place. `false` when it was not ours any more.
    ///
    /// # Errors
    /// When it is not known whether the broker was told.
    pub(super) async fn acknowledge(&self) -> Result<bool, BackendError> {
        let copy = {
            let mut claim = self.claim();
            match std::mem::replace(&mut *claim, Claim::Settled) {
                Claim::Given | Claim::Copying(_) => None,
                Claim::Copied(Some(copy)) => Some(copy),
                Claim::Copied(None) | Claim::Owed => {
                    *claim = Claim::Owed;
                    return Ok(true);
                }
                Claim::Settled => return Ok(false),
            }
        };
        acknowledge(copy.as_ref().map_or(&self.acker, |copy| &copy.acker)).await
    }

    /// A copy is going to take its place.
    pub(super) fn make_way(&self) {
        *self.claim() = Claim::Copying(None);
    }

    /// A copy has taken its place on the broker: it is ours by that.
    pub(super) async fn give_way(&self) -> Result<bool, BackendError> {
        {
            let mut claim = self.claim();
            let copy = match std::mem::replace(&mut *claim, Claim::Settled) {
                Claim::Copying(copy) | Claim::Copied(copy) => copy,
                Claim::Given | Claim::Owed | Claim::Settled => None,
            };
            *claim = Claim::Copied(copy);
        }
        acknowledge(&self.acker).await
    }

    /// Keeps its copy, which has come, if it is waited for. One may come twice, when its confirm was lost: the first one is enough, unless
    /// its channel is gone, with which it comes again.
    pub(super) fn keep_copy(&self, copy: &Arc<Self>) -> Arrived {
        match &mut *self.claim() {
            Claim::Copying(Some(kept)) | Claim::Copied(Some(kept)) if kept.acker.usable() => Arrived::Done,
            Claim::Copying(kept) | Claim::Copied(kept) => {
                *kept = Some(Arc::clone(copy));
                Arrived::Copy
            }
            Claim::Given | Claim::Owed | Claim::Settled => Arrived::Unknown,
        }
    }

    /// The copy, if it is here and was not settled.
    pub(super) fn take_copy(&self) -> Option<Arc<Self>> {
        match std::mem::replace(&mut *self.claim(), Claim::Settled) {
            Claim::Copying(copy) | Claim::Copied(copy) => copy,
            Claim::Given | Claim::Owed | Claim::Settled => None,
        }
    }

    /// Whether it was settled, and its copy is yet to come.
    pub(super) fn is_owed(&self) -> bool {
        matches!(*self.claim(), Claim::Owed)
    }

    /// The name by which it is released, if it is parked.
    pub(super) fn parked_id(&self) -> ParkedId {
        let headers = self.properties.headers().as_ref();
        // Somebody else may have put it there.
        let id = headers.and_then(|table| string(table, PARKED_ID));
        ParkedId::new(id.unwrap_or_else(|| id_of(&self.body)))
    }

    /// When it was parked, in milliseconds since 1970.
    pub(super) fn parked_at(&self) -> Option<i64> {
        self.properties
            .headers()
            .as_ref()
            .and_then(|table| integer(table, PARKED_AT))
    }
}

/// Reads a body, decompressed if it has to be.
pub(super) fn read_body(properties: &BasicProperties, data: &[u8]) -> Content {
    match properties.content_encoding().as_ref().map(ShortString::as_str) {
        Some(DEFLATE) => match inflate(data) {
            Ok(json) => Content::decode(&json),
            Err(error) => Content::Malformed {
                bytes: data.to_vec(),
                reason: format!("the message can't be decompressed: {error}"),
            },
        },
        _ => Content::decode(data),
    }
}

/// The name of a parked message: the same however often it is parked, so that those that became two on the way are one to people.
fn id_of(body: &[u8]) -> String {
    let mixed = body.iter().fold(0xCBF2_9CE4_8422_2325_u64, |mixed, byte| {
        (mixed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    format!("{mixed:016x}")
}

/// The routing key that a message is published with.
fn routing_key(envelope: &Envelope, names: &Names) -> ShortString {
    let key = envelope.routing_key();
    if Work::of(envelope) == Some(Work::Steps) {
        short(&names.step_key(&key, envelope.repo.id))
    } else {
        short(&key)
    }
}

impl Names {
    /// The routing key of a step: its kind, and the partition of its repository.
    pub(super) fn step_key(&self, kind: &str, repo: RepoId) -> String {
        format!("{kind}.p{:02}", partition_of(repo, self.partitions()))
    }
}

const fn tag(body: &Body) -> &'static str {
    match body {
        Body::Delivery(_) => "delivery.v1",
        Body::Promote(_) => "step.promote.v1",
        Body::Merge(_) => "step.merge.v1",
        Body::Report(_) => "step.report.v1",
        Body::Command(_) => "step.command.v1",
        Body::Push(_) => "push.v1",
        Body::Forward(_) => "forward.v1",
        Body::Outcome(_) => "outcome.v1",
    }
}

pub(super) fn headers_of(properties: &BasicProperties) -> FieldTable {
    properties.headers().clone().unwrap_or_default()
}

/// A number in a header, whichever of AMQP's types of numbers it has.
pub(super) fn integer(table: &FieldTable, name: &str) -> Option<i64> {
    match table.inner().get(name)? {
        AMQPValue::LongLongInt(value) => Some(*value),
        AMQPValue::LongInt(value) => Some((*value).into()),
        AMQPValue::LongUInt(value) => Some((*value).into()),
        AMQPValue::ShortInt(value) => Some((*value).into()),
        AMQPValue::ShortUInt(value) => Some((*value).into()),
        AMQPValue::ShortShortInt(value) => Some((*value).into()),
        AMQPValue::ShortShortUInt(value) => Some((*value).into()),
        AMQPValue::Timestamp(value) => i64::try_from(*value).ok(),
        _ => None,
    }
}

fn string(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name)? {
        AMQPValue::LongString(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        AMQPValue::ShortString(value) => Some(value.as_str().to_owned()),
        _ => None,
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// A short string, cut where AMQP's 255 bytes end: the client panics at longer ones.
pub(super) fn short(value: &str) -> ShortString {
    let end = value.floor_char_boundary(255);
    value.get(..end).unwrap_or_default().into()
}

pub(super) fn cut(reason: &str) -> String {
    reason.chars().take(REASON_CHARS).collect()
}

/// The time of day in milliseconds since 1970 UTC.
pub(super) fn now_millis() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Compressed, in the format that HTTP calls deflate: zlib's.
fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory can't fail.
    let written = encoder.write_all(bytes);
    debug_assert!(written.is_ok());
    encoder.finish().unwrap_or_default()
}

fn inflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    ZlibDecoder::new(bytes)
        .take(LARGEST_BODY + 1)
        .read_to_end(&mut inflated)?;
    if inflated.len() as u64 > LARGEST_BODY {
        return Err(std::io::Error::other(format!(
            "it has more than {LARGEST_BODY} bytes"
        )));
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests;
