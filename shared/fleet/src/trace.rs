//! Trace context in and out of messages, and the spans of their way.
//!
//! Guarantees:
//! - A message that is published through [`publishing`] carries the context of the span that publishes it, whatever it carried before.
//! - The span of a message that is worked on has what the message carries as its parent, and linked. So one trace goes from a
//!   webhook to a pull request, whichever processes are on the way; a message that comes again is in the trace of its first time.
//! - Where nothing traces (no subscriber, such as in a unit test), messages keep the context that they have.
//!
//! Names are those of [`lockflight_promotion::telemetry`]. The destination is the same for every adapter, and has neither partition
//! nor retry queue in it: it says what a message is, not which way it took.

use std::time::Instant;

use lockflight_promotion::TraceParent;
use lockflight_promotion::message::Envelope;
use lockflight_promotion::telemetry::{attribute, destination, span as names};
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue};
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::measure::{self, Outcomes};
use crate::queue::{Delivery, SettleError, Work};

/// What messages are published to, in telemetry.
const EXCHANGE: &str = "lockflight.events";

/// What messages are consumed from, in telemetry.
pub(crate) const fn queue_of(work: Work) -> &'static str {
    match work {
        Work::Plan => "lockflight.plan",
        Work::Steps => "lockflight.steps",
        Work::Forward => "lockflight.forward",
    }
}

/// The context of a span, as a message carries it. None where nothing traces.
#[must_use]
pub fn of(span: &Span) -> Option<TraceParent> {
    written(span.context().span().span_context())
}

/// The context of the span that is entered now. None where nothing traces, or outside of any span.
#[must_use]
pub fn current() -> Option<TraceParent> {
    written(Context::current().span().span_context())
}

/// Makes a span that was not entered yet the root of a new trace, whatever it was made within.
pub fn begin(span: &Span) {
    // It fails where nothing traces.
    span.set_parent(Context::new()).ok();
}

/// What a message carries, as the context of a span elsewhere.
#[must_use]
pub fn remote(carried: &TraceParent) -> SpanContext {
    let mut parts = carried.as_str().split('-').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let trace = TraceId::from_hex(part()).unwrap_or(TraceId::INVALID);
    let span = SpanId::from_hex(part()).unwrap_or(SpanId::INVALID);
    // Flags that are not known yet are not passed on.
    let flags = u8::from_str_radix(part(), 16).unwrap_or_default() & TraceFlags::SAMPLED.to_u8();
    SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::default())
}

fn written(context: &SpanContext) -> Option<TraceParent> {
    let (trace, span) = (context.trace_id(), context.span_id());
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    TraceParent::parse(format!("00-{trace}-{span}-{:02x}", flags.to_u8())).ok()
}

/// The span of the work on one message.
pub(crate) fn process<D: Delivery>(place: Place, delivery: &D) -> Span {
    let Place { system, work } = place;
    let envelope = delivery.envelope();
    let routing_key = envelope.routing_key();
    let span = info_span!(
        "message",
        otel.name = names::process(EXCHANGE, &routing_key, queue_of(work)),
        otel.kind = "consumer",
        queue.name = work.name(), message.id = %envelope.id, delivery.id = %envelope.delivery,
        repo = %envelope.repo.name, attempt = delivery.attempt(),
    );
    let creation = remote(&envelope.traceparent);
    span.set_parent(Context::new().with_remote_span_context(creation.clone()))
        .ok();
    span.add_link_with_attributes(creation, vec![KeyValue::new(attribute::RELATION, "creation")]);
    describe(
        &span,
        system,
        "process",
        "process",
        &destination(EXCHANGE, &routing_key, queue_of(work)),
    );
    identify(&span, system, envelope, &routing_key);
    span.set_attribute(attribute::ATTEMPT, i64::from(delivery.attempt()));
    span
}

/// The span of what is done once for a batch. It belongs to the trace of its first message, and is linked with each.
pub(crate) fn prepare<'d, D: Delivery>(place: Place, batch: impl ExactSizeIterator<Item = &'d D>) -> Span {
    let Place { system, work } = place;
    let messages = batch.len();
    let span = info_span!("prepare", otel.name = names::PREPARE, queue.name = work.name());
    for (place, delivery) in batch.enumerate() {
        let creation = remote(&delivery.envelope().traceparent);
        if place == 0 {
            span.set_parent(Context::new().with_remote_span_context(creation.clone()))
                .ok();
        }
        span.add_link(creation);
    }
    span.set_attribute(attribute::MESSAGING_SYSTEM, system);
    if messages > 1 {
        span.set_attribute(attribute::MESSAGING_BATCH_MESSAGE_COUNT, count(messages));
    }
    span
}

/// The span of a settlement, within that of the message.
fn settle(place: Place, operation: &'static str, envelope: &Envelope) -> Span {
    let Place { system, work } = place;
    let routing_key = envelope.routing_key();
    let span = info_span!(
        "settle",
        otel.name = names::settle(operation, EXCHANGE, &routing_key, queue_of(work)),
        otel.kind = "client",
    );
    describe(
        &span,
        system,
        operation,
        "settle",
        &destination(EXCHANGE, &routing_key, queue_of(work)),
    );
    span
}

fn describe(
    span: &Span,
    system: &'static str,
    operation: &'static str,
    kind: &'static str,
    destination: &str,
) {
    span.set_attribute(attribute::MESSAGING_SYSTEM, system);
    span.set_attribute(attribute::MESSAGING_OPERATION_NAME, operation);
    span.set_attribute(attribute::MESSAGING_OPERATION_TYPE, kind);
    span.set_attribute(attribute::MESSAGING_DESTINATION_NAME, destination.to_owned());
}

fn identify(span: &Span, system: &'static str, envelope: &Envelope, routing_key: &str) {
    span.set_attribute(attribute::MESSAGING_MESSAGE_ID, envelope.id.as_str().to_owned());
    span.set_attribute(
        attribute::MESSAGING_MESSAGE_CONVERSATION_ID,
        envelope.delivery.as_str().to_owned(),
    );
    span.set_attribute(attribute::DELIVERY_ID, envelope.delivery.as_str().to_owned());
    span.set_attribute(attribute::VCS_REPOSITORY_NAME, envelope.repo.name.to_string());
    if system == attribute::SYSTEM_RABBITMQ {
        span.set_attribute(attribute::RABBITMQ_ROUTING_KEY, routing_key.to_owned());
    }
}

/// Marks a span as failed, with one word of few and a sentence for people, without secrets.
pub fn fail(span: &Span, error_type: &'static str, reason: &str) {
    span.set_attribute(attribute::ERROR_TYPE, error_type);
    span.set_status(Status::error(reason.to_owned()));
}

pub(crate) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Messages on their way to the queue: see [`publishing`].
#[derive(Debug)]
#[must_use = "say how it ended"]
pub struct Publishing {
    system: &'static str,
    began: Instant,
    /// A span and its destination for each message that is work.
    spans: Vec<(Span, String)>,
}

/// Gives messages that are about to be published the context of the span that publishes them.
///
/// That is a span of its own for work, which lasts until the queue has said what became of it, and the span around for what only the
/// journal keeps. Call it last before [`crate::Queue::publish`], or before a settlement with messages that follow. `system` is
/// [`crate::Queue::SYSTEM`].
pub fn publishing(system: &'static str, messages: &mut [Envelope]) -> Publishing {
    let mut spans = Vec::new();
    let around = current();
    for envelope in messages {
        let context = if Work::of(envelope).is_some() {
            let routing_key = envelope.routing_key();
            let span = info_span!(
                "publish",
                otel.name = names::publish(EXCHANGE, &routing_key),
                otel.kind = "producer",
            );
            let destination = destination(EXCHANGE, &routing_key, "");
            describe(&span, system, "publish", "send", &destination);
            identify(&span, system, envelope, &routing_key);
            let context = of(&span);
            spans.push((span, destination));
            context
        } else {
            around.clone()
        };
        if let Some(context) = context {
            envelope.traceparent = context;
        }
    }
    Publishing {
        system,
        began: Instant::now(),
        spans,
    }
}

impl Publishing {
    /// They are durable.
    pub fn confirmed(self) {
        self.end(None);
    }

    /// They are not known to be durable, or are known not to be.
    pub fn failed(self, reason: &str) {
        self.end(Some(reason));
    }

    fn end(self, failed: Option<&str>) {
        for (span, destination) in self.spans {
            let error_type = failed.map(|reason| {
                fail(&span, "unconfirmed", reason);
                "unconfirmed"
            });
            measure::sent(self.system, destination, error_type, self.began.elapsed());
        }
    }
}

/// Gives messages the context of the span around, without a span of their own: for those that may turn out not to be published.
pub(crate) fn stamp(messages: &mut [Envelope]) {
    let Some(around) = current() else { return };
    for envelope in messages {
        envelope.traceparent = around.clone();
    }
}

/// Where a message is worked on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) system: &'static str,
    pub(crate) work: Work,
}

/// A settlement: its span, and those of the messages that follow.
#[derive(Debug)]
#[must_use = "it ends with the settlement"]
pub(crate) struct Settling {
    place: Place,
    operation: &'static str,
    span: Span,
    publishing: Publishing,
    outcomes: Outcomes,
}

impl Settling {
    /// `follow` are the messages that are published with the settlement.
    pub(crate) fn begin<D: Delivery>(
        place: Place,
        operation: &'static str,
        delivery: &D,
        follow: &mut [Envelope],
    ) -> Self {
        Self {
            place,
            operation,
            outcomes: Outcomes::of(follow),
            publishing: publishing(place.system, follow),
            span: settle(place, operation, delivery.envelope()),
        }
    }

    /// Settles. `stale` says whether the message had gone to another worker.
    pub(crate) async fn end<T>(
        self,
        settlement: impl Future<Output = Result<T, SettleError>>,
        stale: impl FnOnce(&T) -> bool,
    ) -> Result<T, SettleError> {
        let began = Instant::now();
        let settled = settlement.instrument(self.span.clone()).await;
        let error_type = match &settled {
            Ok(ended) if stale(ended) => {
                measure::stale(self.place.work);
                self.publishing.failed("the message had gone to another worker");
                Some("stale")
            }
            Ok(_) => {
                self.publishing.confirmed();
                self.outcomes.happened();
                None
            }
            Err(error) => {
                self.publishing.failed(&error.to_string());
                Some("unconfirmed")
            }
        };
        if let Some(error_type) = error_type {
            fail(&self.span, error_type, "the message is not known to be settled");
        }
        measure::settled(self.place, self.operation, error_type, began.elapsed());
        settled
    }
}

#[cfg(test)]
mod tests;
