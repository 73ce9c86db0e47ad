//! The instruments of the connections and of publishing, made at their first use.

use std::sync::LazyLock;

use lockflight_promotion::telemetry::{SCOPE, attribute, metric, unit};
use opentelemetry::metrics::{Counter, Gauge};
use opentelemetry::{KeyValue, global};

struct Instruments {
    connected: Gauge<u64>,
    blocked: Gauge<u64>,
    reconnects: Counter<u64>,
    returned: Counter<u64>,
    unconfirmed: Gauge<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter(SCOPE);
    let gauge = |name, unit, description| {
        meter
            .u64_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .build()
    };
    let counter = |name, unit, description| {
        meter
            .u64_counter(name)
            .with_unit(unit)
            .with_description(description)
            .build()
    };
    Instruments {
        connected: gauge(
            metric::BROKER_CONNECTED,
            unit::COUNT,
            "1 while the broker's connection stands, else 0.",
        ),
        blocked: gauge(
            metric::BROKER_BLOCKED,
            unit::COUNT,
            "1 while the broker takes nothing, for want of memory or disk, else 0.",
        ),
        reconnects: counter(
            metric::BROKER_RECONNECTS,
            unit::COUNT,
            "Connections that were made again.",
        ),
        returned: counter(
            metric::BROKER_RETURNED,
            unit::MESSAGES,
            "Messages that the broker could not route and gave back.",
        ),
        unconfirmed: gauge(
            metric::BROKER_UNCONFIRMED,
            unit::MESSAGES,
            "Messages that were sent and are not confirmed yet.",
        ),
    }
});

fn named(connection: &'static str) -> [KeyValue; 1] {
    [KeyValue::new(attribute::CONNECTION, connection)]
}

/// A connection was made or lost.
pub(super) fn connected(connection: &'static str, is: bool) {
    INSTRUMENTS.connected.record(is.into(), &named(connection));
}

/// A connection was made that had been lost.
pub(super) fn reconnected(connection: &'static str) {
    INSTRUMENTS.reconnects.add(1, &named(connection));
}

/// The broker takes nothing, or does again.
pub(super) fn blocked(is: bool) {
    INSTRUMENTS.blocked.record(is.into(), &[]);
}

/// The broker refused or returned a message.
pub(super) fn returned() {
    INSTRUMENTS.returned.add(1, &[]);
}

/// So many messages are on their way.
pub(super) fn unconfirmed(messages: usize) {
    INSTRUMENTS.unconfirmed.record(messages as u64, &[]);
}
