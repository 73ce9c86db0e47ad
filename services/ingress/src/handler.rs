//! One delivery, from its first byte to the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use http::HeaderMap;
use http::request::Parts;
use lockflight_fleet::{Queue, failpoint, trace};
use lockflight_promotion::change::Repository;
use lockflight_promotion::message::{Body as Message, DeliveryV1, ENVELOPE_VERSION, Envelope};
use lockflight_promotion::telemetry::{self, attribute};
use lockflight_promotion::{InvalidId, MessageId, TraceParent};
use lockflight_runtime::{panics, trace_context};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, error, info_span, record_all};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::IngressConfig;
use crate::answer::Answer;
use crate::body::Bodies;
use crate::measure;
use crate::payload::{self, Claimed, Meaning, Unreadable};
use crate::signature::{Keys, Signature};

/// A body of at most this size, as nearly all have, is examined where it is: that takes less time than another thread takes to begin.
const SMALL: usize = 64 * 1024;

/// What every delivery needs.
pub(crate) struct Ingress<Q> {
    keys: Keys,
    bodies: Bodies,
    in_flight: Semaphore,
    publish_timeout: Duration,
    forwards: bool,
    queue: Q,
    /// The path, and the name of the spans of what arrives there: the same for every delivery.
    route: Arc<str>,
    span_name: String,
}

impl<Q> Ingress<Q> {
    pub(crate) fn new(config: IngressConfig, keys: Keys, queue: Q) -> Self {
        Self {
            span_name: telemetry::span::webhook(&config.path),
            route: config.path.into(),
            keys,
            bodies: Bodies::new(config.max_body, config.max_buffered, config.read_timeout),
            in_flight: Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS)),
            publish_timeout: config.publish_timeout,
            forwards: config.forwards,
            queue,
        }
    }
}

/// Answers whatever is not a POST.
pub(crate) async fn wrong_method() -> Answer {
    Answer::wrong_method()
}

/// Answers a POST.
pub(crate) async fn deliver<Q: Queue>(State(ingress): State<Arc<Ingress<Q>>>, request: Request) -> Answer {
    let began = Instant::now();
    let span = info_span!(
        "webhook",
        otel.name = ingress.span_name,
        otel.kind = "server",
        trace_id = Empty,
        delivery.id = Empty,
        event = Empty,
        repo = Empty,
        bytes = Empty,
    );
    // A trace begins here: anybody can send trace headers, so those that came are not looked at.
    trace::begin(&span);
    let context = trace::of(&span).unwrap_or_else(trace_context::new_trace);
    span.record("trace_id", trace_context::trace_id(&context));
    span.set_attribute(attribute::HTTP_REQUEST_METHOD, "POST");
    span.set_attribute(attribute::HTTP_ROUTE, Arc::clone(&ingress.route));
    async {
        let (head, body) = request.into_parts();
        let answer = match panics::catch(ingress.answer(&head, body, context)).await {
            Ok(Ok(answer) | Err(answer)) => answer,
            Err(panicked) => {
                error!(panic = %panicked.message, "a delivery met a mistake of ours");
                Answer::broken()
            }
        };
        answer.log();
        measure::answered(&answer, began.elapsed());
        answer
    }
    .instrument(span)
    .await
}

/// What a delivery turned out to be.
struct Examined {
    claimed: Claimed,
    told: Told,
}

/// What follows from a delivery.
enum Told {
    /// Nothing but an answer.
    Answer(Answer),
    /// A message to a planner, under an id that begins with this kind and ends with the hash of the raw body.
    Message {
        kind: &'static str,
        repo: Repository,
        body_sha256: String,
        body: Box<Message>,
    },
}

impl<Q> Ingress<Q> {
    /// Checks the signature, and only then looks at what was signed.
    fn examine(
        &self,
        signature: Signature,
        headers: &HeaderMap,
        raw: &[u8],
        span: &Span,
    ) -> Result<Examined, Answer> {
        self.keys.verify(signature, raw)?;
        self.read(headers, raw, span)
    }

    /// Looks at what was signed.
    fn read(&self, headers: &HeaderMap, raw: &[u8], span: &Span) -> Result<Examined, Answer> {
        let claimed = Claimed::find(headers)?;
        record_all!(span, delivery.id = %claimed.delivery, event = claimed.event.as_str());
        span.set_attribute(attribute::DELIVERY_ID, claimed.delivery.as_str().to_owned());
        span.set_attribute(attribute::EVENT, telemetry::event(&claimed.event));
        let told = payload::read(&claimed.event, claimed.encoding, raw, self.forwards)
            .and_then(|meaning| told(meaning, &claimed.event, headers, raw));
        match told {
            Ok(told) => Ok(Examined { claimed, told }),
            Err(unreadable) => Err(Answer::from(unreadable)
                .of_event(&claimed.event)
                .about(claimed.delivery)),
        }
    }
}

impl<Q: Queue> Ingress<Q> {
    async fn answer(
        self: &Arc<Self>,
        head: &Parts,
        body: Body,
        trace: TraceParent,
    ) -> Result<Answer, Answer> {
        let _slot = self.in_flight.try_acquire().map_err(|_full| Answer::busy())?;
        // What the headers alone rule out is not read at all.
        self.bodies.announced(&head.headers)?;
        let signature = Signature::find(&head.headers)?;
        let received = self.bodies.read(body).await?;
        let span = Span::current();
        span.record("bytes", received.bytes.len());
        let bytes = i64::try_from(received.bytes.len()).unwrap_or(i64::MAX);
        span.set_attribute(attribute::HTTP_REQUEST_BODY_SIZE, bytes);
        let is_small = received.bytes.len() <= SMALL;
        let examined = if is_small && self.keys.prove(signature, &received.bytes) {
            let examined = self.read(&head.headers, &received.bytes, &span)?;
            // The connection gets its buffer back while the queue confirms.
            drop(received);
            examined
        } else {
            // Files may have to be read, and a hash over 25 MB would hold up the other tasks of its thread.
            let (ingress, headers, inner) = (Arc::clone(self), head.headers.clone(), span.clone());
            let examined = lockflight_runtime::blocking(move || {
                ingress.examine(signature, &headers, &received.bytes, &inner)
            });
            examined.await?
        };
        let Examined { claimed, told } = examined;
        let delivery = claimed.delivery.clone();
        let event = claimed.event.clone();
        let answer = match told {
            Told::Answer(answer) => answer,
            Told::Message {
                kind,
                repo,
                body_sha256,
                body,
            } => {
                span.record("repo", display(&repo.name));
                span.set_attribute(attribute::VCS_REPOSITORY_NAME, repo.name.to_string());
                match envelope(claimed, repo, (kind, &body_sha256), *body, trace) {
                    Ok(envelope) => self.publish(envelope).await,
                    Err(odd) => {
                        error!(error = %odd, "delivery {delivery} has no message id");
                        Answer::broken()
                    }
                }
            }
        };
        Ok(answer.of_event(&event).about(delivery))
    }

    async fn publish(&self, mut envelope: Envelope) -> Answer {
        let publishing = trace::publishing(Q::SYSTEM, std::slice::from_mut(&mut envelope));
        failpoint::reached("ingress.publishing");
        let confirmed = self.queue.publish(std::slice::from_ref(&envelope));
        match tokio::time::timeout(self.publish_timeout, confirmed).await {
            Ok(Ok(())) => {
                failpoint::reached("ingress.published");
                publishing.confirmed();
                Answer::accepted()
            }
            Ok(Err(failed)) => {
                publishing.failed(&failed.to_string());
                error!(
                    error = &failed as &(dyn std::error::Error + 'static),
                    "delivery {} is not known to be stored", envelope.delivery
                );
                Answer::unavailable()
            }
            Err(_late) => {
                publishing.failed("the queue did not confirm in time");
                error!(
                    "the queue did not confirm delivery {} within {:?}",
                    envelope.delivery, self.publish_timeout
                );
                Answer::unavailable()
            }
        }
    }
}

/// What follows from what a delivery means.
fn told(meaning: Meaning, event: &str, headers: &HeaderMap, raw: &[u8]) -> Result<Told, Unreadable> {
    let body_sha256 = || format!("{:x}", Sha256::digest(raw));
    Ok(match meaning {
        Meaning::Ping => Told::Answer(Answer::pong()),
        Meaning::Nothing(reason) => Told::Answer(Answer::ignored(reason)),
        Meaning::Told { repo, delivery } => {
            let body_sha256 = body_sha256();
            let body = Message::Delivery(DeliveryV1 {
                event: event.to_owned(),
                body_sha256: body_sha256.clone(),
                ..*delivery
            });
            Told::Message {
                kind: "delivery",
                repo,
                body_sha256,
                body: Box::new(body),
            }
        }
        Meaning::Push { repo, push } => Told::Message {
            kind: "push",
            repo,
            body_sha256: body_sha256(),
            body: Box::new(Message::Push(Box::new(push.message(headers, raw)?))),
        },
    })
}

fn envelope(
    claimed: Claimed,
    repo: Repository,
    (kind, body_sha256): (&str, &str),
    body: Message,
    trace: TraceParent,
) -> Result<Envelope, InvalidId> {
    // The same for each redelivery of the same body, and another one when somebody sends another body under a known delivery id.
    let prefix: String = body_sha256.chars().take(16).collect();
    let id = MessageId::parse(format!("{kind}:{}:{prefix}", claimed.delivery))?;
    Ok(Envelope {
        v: ENVELOPE_VERSION,
        id,
        repo,
        delivery: claimed.delivery,
        cause: None,
        attempt: 0,
        traceparent: trace,
        body,
    })
}
