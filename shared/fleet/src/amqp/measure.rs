//! The instruments of this adapter alone, made at their first use. What every adapter's workers measure is in [`crate::measure`].

use std::sync::LazyLock;
use std::time::Duration;

use lockflight_promotion::telemetry::{SCOPE, attribute, buckets, metric, unit};
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

use crate::Work;

struct Instruments {
    wait: Histogram<f64>,
    lost: Counter<u64>,
    coalesced: Counter<u64>,
    put_back: Counter<u64>,
    partitions: Gauge<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter(SCOPE);
    let counter = |name, description| {
        meter
            .u64_counter(name)
            .with_unit(unit::MESSAGES)
            .with_description(description)
            .build()
    };
    Instruments {
        wait: meter
            .f64_histogram(metric::QUEUE_WAIT)
            .with_unit(unit::SECONDS)
            .with_description("From a message's publication to its first hand-out.")
            .with_boundaries(buckets::WORK.to_vec())
            .build(),
        lost: counter(
            metric::TASK_LOST,
            "Messages that were handed out and nothing was heard of.",
        ),
        coalesced: counter(metric::TASK_COALESCED, "Messages that an equal one stood for."),
        put_back: counter(
            metric::TASK_PUT_BACK,
            "Messages that were held for too long before their turn and put back.",
        ),
        partitions: meter
            .u64_gauge(metric::PARTITIONS_OWNED)
            .with_unit(unit::COUNT)
            .with_description("Partitions of the steps that this process works on.")
            .build(),
    }
});

fn queue(work: Work) -> KeyValue {
    KeyValue::new(attribute::QUEUE, work.name())
}

/// A message was handed out for the first time.
pub(super) fn handed_out(work: Work, after: Duration) {
    INSTRUMENTS.wait.record(after.as_secs_f64(), &[queue(work)]);
}

/// Nothing was heard of a message, and why.
pub(super) fn lost(work: Work, reason: &'static str) {
    let attributes = [queue(work), KeyValue::new(attribute::REASON, reason)];
    INSTRUMENTS.lost.add(1, &attributes);
}

/// An equal message stood for another.
pub(super) fn coalesced(work: Work) {
    INSTRUMENTS.coalesced.add(1, &[queue(work)]);
}

/// Messages were held for too long.
pub(super) fn put_back(work: Work, messages: usize) {
    INSTRUMENTS.put_back.add(messages as u64, &[queue(work)]);
}

/// So many partitions are this process's now.
pub(super) fn owned(partitions: usize) {
    INSTRUMENTS.partitions.record(partitions as u64, &[]);
}
