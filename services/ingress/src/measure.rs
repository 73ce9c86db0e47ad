//! What is counted of deliveries.

use std::sync::LazyLock;
use std::time::Duration;

use lockflight_promotion::telemetry::{SCOPE, attribute, buckets, metric, unit};
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::trace::Status;
use opentelemetry::{KeyValue, global};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::answer::Answer;

struct Instruments {
    deliveries: Counter<u64>,
    duration: Histogram<f64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter(SCOPE);
    Instruments {
        deliveries: meter
            .u64_counter(metric::WEBHOOK_DELIVERIES)
            .with_unit(unit::DELIVERIES)
            .with_description("Webhook deliveries that were answered.")
            .build(),
        duration: meter
            .f64_histogram(metric::WEBHOOK_HANDLE_DURATION)
            .with_unit(unit::SECONDS)
            .with_description("From the head of a webhook to its answer.")
            .with_boundaries(buckets::SHORT.to_vec())
            .build(),
    }
});

/// A delivery was answered, within the current span.
pub(crate) fn answered(answer: &Answer, took: Duration) {
    let event = KeyValue::new(attribute::EVENT, answer.event());
    let result = KeyValue::new(attribute::RESULT, answer.result());
    INSTRUMENTS.deliveries.add(1, &[event.clone(), result]);
    INSTRUMENTS.duration.record(took.as_secs_f64(), &[event]);

    let span = Span::current();
    let code = answer.code();
    span.set_attribute(attribute::RESULT, answer.result());
    span.set_attribute(attribute::HTTP_RESPONSE_STATUS_CODE, i64::from(code.as_u16()));
    if code.is_server_error() {
        // As the conventions for HTTP have it, what the client did wrong is no error of a server's span.
        span.set_attribute(attribute::ERROR_TYPE, code.as_u16().to_string());
        span.set_status(Status::error(answer.result()));
    }
}
