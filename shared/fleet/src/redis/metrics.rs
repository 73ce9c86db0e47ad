//! What is measured about the locks.

use std::time::{Duration, Instant};

use lockflight_promotion::telemetry::{SCOPE, attribute, buckets, metric, unit};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

/// The instruments.
#[derive(Debug)]
pub(super) struct Metrics {
    wait: Histogram<f64>,
    held: Histogram<f64>,
    contention: Counter<u64>,
    lost: Counter<u64>,
    bypassed: Counter<u64>,
    unavailable: Gauge<u64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = opentelemetry::global::meter(SCOPE);
        let seconds = |name: &'static str, description: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit(unit::SECONDS)
                .with_description(description)
                .with_boundaries(buckets::WORK.to_vec())
                .build()
        };
        let count = |name: &'static str, description: &'static str| {
            meter
                .u64_counter(name)
                .with_unit(unit::COUNT)
                .with_description(description)
                .build()
        };
        Self {
            wait: seconds(metric::LOCK_WAIT, "The wait for a repository's lock."),
            held: seconds(metric::LOCK_HELD, "How long a repository's lock was held."),
            contention: count(
                metric::LOCK_CONTENTION,
                "Locks that somebody else held when they were asked for.",
            ),
            lost: count(
                metric::LOCK_LOST,
                "Leases that ran out or were taken over under their holder.",
            ),
            bypassed: count(
                metric::LOCK_BYPASSED,
                "Work that was begun without a lock, since its server could not be reached.",
            ),
            unavailable: meter
                .u64_gauge(metric::LOCK_UNAVAILABLE)
                .with_unit(unit::COUNT)
                .with_description("1 while the lock's server can't be reached and work goes on without it.")
                .build(),
        }
    }

    /// A wait has ended: `acquired`, `bypassed` or `failed`.
    pub(super) fn waited(&self, since: Instant, result: &'static str) {
        let result = [KeyValue::new(attribute::RESULT, result)];
        self.wait.record(since.elapsed().as_secs_f64(), &result);
    }

    /// A lock was held that long.
    pub(super) fn held(&self, held: Duration) {
        self.held.record(held.as_secs_f64(), &[]);
    }

    /// A lock was somebody else's.
    pub(super) fn contended(&self) {
        self.contention.add(1, &[]);
    }

    /// A lease was lost.
    pub(super) fn lost(&self) {
        self.lost.add(1, &[]);
    }

    /// Work has begun without a lock.
    pub(super) fn bypassed(&self) {
        self.bypassed.add(1, &[]);
    }

    /// Whether Redis is away.
    pub(super) fn unavailable(&self, away: bool) {
        self.unavailable.record(u64::from(away), &[]);
    }
}

/// Live executors, as this process sees them.
pub(super) fn members() -> Gauge<u64> {
    opentelemetry::global::meter(SCOPE)
        .u64_gauge(metric::MEMBERS)
        .with_unit(unit::COUNT)
        .with_description("Live executors, as this process sees them.")
        .build()
}
