//! The instruments of queue and workers, made at their first use.

use std::sync::LazyLock;
use std::time::Duration;

use lockflight_promotion::message::{Body, Envelope, Outcome, Phase};
use lockflight_promotion::telemetry::{SCOPE, attribute, buckets, metric, unit};
use opentelemetry::metrics::{Counter, Gauge, Histogram, UpDownCounter};
use opentelemetry::{KeyValue, global};

use crate::queue::{Depth, Queue, Work};
use crate::trace::{self, Place, queue_of};

/// How often queues are looked at.
const EVERY: Duration = Duration::from_secs(15);

struct Instruments {
    sent: Counter<u64>,
    consumed: Counter<u64>,
    operation: Histogram<f64>,
    process: Histogram<f64>,
    batch: Histogram<u64>,
    retries: Counter<u64>,
    deferred: Counter<u64>,
    parked: Counter<u64>,
    stale: Counter<u64>,
    busy: UpDownCounter<i64>,
    capacity: UpDownCounter<i64>,
    outcomes: Counter<u64>,
    hop: Histogram<f64>,
    messages: Gauge<u64>,
    oldest: Gauge<f64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter(SCOPE);
    let counter = |name, unit, description| {
        meter
            .u64_counter(name)
            .with_unit(unit)
            .with_description(description)
            .build()
    };
    let seconds = |name, buckets: &[f64], description| {
        meter
            .f64_histogram(name)
            .with_unit(unit::SECONDS)
            .with_description(description)
            .with_boundaries(buckets.to_vec())
            .build()
    };
    let level = |name, description| {
        meter
            .i64_up_down_counter(name)
            .with_unit(unit::COUNT)
            .with_description(description)
            .build()
    };
    Instruments {
        sent: counter(
            metric::CLIENT_SENT_MESSAGES,
            unit::MESSAGES,
            "Messages that were to be published.",
        ),
        consumed: counter(
            metric::CLIENT_CONSUMED_MESSAGES,
            unit::MESSAGES,
            "Messages that were handed to a worker.",
        ),
        operation: seconds(
            metric::CLIENT_OPERATION_DURATION,
            &buckets::SHORT,
            "One publish with its confirm, or one settlement.",
        ),
        process: seconds(
            metric::PROCESS_DURATION,
            &buckets::WORK,
            "How long a message was worked on, each attempt by itself.",
        ),
        batch: meter
            .u64_histogram(metric::BATCH_MESSAGES)
            .with_unit(unit::MESSAGES)
            .with_description("Messages in a batch.")
            .with_boundaries(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
            .build(),
        retries: counter(
            metric::TASK_RETRIES,
            unit::MESSAGES,
            "Attempts that failed and are followed by another.",
        ),
        deferred: counter(
            metric::TASK_DEFERRED,
            unit::MESSAGES,
            "Messages put aside for a while, which is no failure.",
        ),
        parked: counter(
            metric::TASK_PARKED,
            unit::MESSAGES,
            "Messages that were parked for a person.",
        ),
        stale: counter(
            metric::TASK_STALE,
            unit::MESSAGES,
            "Messages that had gone to another worker when they were settled.",
        ),
        busy: level(metric::WORKER_BUSY, "Batches in hand."),
        capacity: level(metric::WORKER_CAPACITY, "Batches that may be in hand at once."),
        outcomes: counter(metric::PROMOTION_OUTCOMES, unit::OUTCOMES, "What became of work."),
        hop: seconds(
            metric::PROMOTION_HOP_DURATION,
            &buckets::WORK,
            "A part of planning or promoting.",
        ),
        messages: meter
            .u64_gauge(metric::QUEUE_MESSAGES)
            .with_unit(unit::MESSAGES)
            .with_description("How full a queue is.")
            .build(),
        oldest: meter
            .f64_gauge(metric::QUEUE_OLDEST_MESSAGE_AGE)
            .with_unit(unit::SECONDS)
            .with_description("How long ago the oldest message that is not parked was published.")
            .build(),
    }
});

fn messaging(
    system: &'static str,
    operation: &'static str,
    kind: &'static str,
    destination: String,
    error_type: Option<&'static str>,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(attribute::MESSAGING_SYSTEM, system),
        KeyValue::new(attribute::MESSAGING_OPERATION_NAME, operation),
        KeyValue::new(attribute::MESSAGING_OPERATION_TYPE, kind),
        KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, destination),
    ];
    attributes.extend(error_type.map(|error| KeyValue::new(attribute::ERROR_TYPE, error)));
    attributes
}

fn queue(work: Work) -> KeyValue {
    KeyValue::new(attribute::QUEUE, work.name())
}

/// A message was published, or was to be.
pub(crate) fn sent(
    system: &'static str,
    destination: String,
    error_type: Option<&'static str>,
    took: Duration,
) {
    let attributes = messaging(system, "publish", "send", destination, error_type);
    INSTRUMENTS.sent.add(1, &attributes);
    INSTRUMENTS.operation.record(took.as_secs_f64(), &attributes);
}

/// A batch was handed to a worker.
pub(crate) fn received(place: Place, messages: usize) {
    let Place { system, work } = place;
    let messages = u64::try_from(messages).unwrap_or(u64::MAX);
    // By queue and not by routing key: a batch is one receipt.
    let attributes = messaging(system, "receive", "receive", queue_of(work).to_owned(), None);
    INSTRUMENTS.consumed.add(messages, &attributes);
    INSTRUMENTS.batch.record(messages, &[queue(work)]);
}

/// A message was worked on.
pub(crate) fn processed(place: Place, error_type: Option<&'static str>, took: Duration) {
    let Place { system, work } = place;
    let attributes = messaging(
        system,
        "process",
        "process",
        queue_of(work).to_owned(),
        error_type,
    );
    INSTRUMENTS.process.record(took.as_secs_f64(), &attributes);
}

/// A message was settled, or was to be.
pub(crate) fn settled(
    place: Place,
    operation: &'static str,
    error_type: Option<&'static str>,
    took: Duration,
) {
    let Place { system, work } = place;
    let attributes = messaging(system, operation, "settle", queue_of(work).to_owned(), error_type);
    INSTRUMENTS.operation.record(took.as_secs_f64(), &attributes);
}

/// A message failed and comes again.
pub(crate) fn retried(work: Work, error_type: &'static str) {
    let attributes = [queue(work), KeyValue::new(attribute::ERROR_TYPE, error_type)];
    INSTRUMENTS.retries.add(1, &attributes);
}

/// A message was put aside.
pub(crate) fn deferred(work: Work, reason: &'static str) {
    let attributes = [queue(work), KeyValue::new(attribute::REASON, reason)];
    INSTRUMENTS.deferred.add(1, &attributes);
}

/// A message was parked.
pub(crate) fn parked(work: Work, error_type: &'static str) {
    let attributes = [queue(work), KeyValue::new(attribute::ERROR_TYPE, error_type)];
    INSTRUMENTS.parked.add(1, &attributes);
}

/// A message had gone to another worker.
pub(crate) fn stale(work: Work) {
    INSTRUMENTS.stale.add(1, &[queue(work)]);
}

/// Counts for as long as it lives.
#[derive(Debug)]
pub(crate) struct Level {
    instrument: UpDownCounter<i64>,
    by: i64,
    queue: KeyValue,
}

impl Level {
    fn new(instrument: &UpDownCounter<i64>, by: i64, work: Work) -> Self {
        let queue = queue(work);
        instrument.add(by, std::slice::from_ref(&queue));
        Self {
            instrument: instrument.clone(),
            by,
            queue,
        }
    }

    /// One more batch is in hand.
    pub(crate) fn busy(work: Work) -> Self {
        Self::new(&INSTRUMENTS.busy, 1, work)
    }

    /// A worker that can have so many batches in hand is there.
    pub(crate) fn capacity(work: Work, batches: usize) -> Self {
        Self::new(&INSTRUMENTS.capacity, trace::count(batches), work)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.instrument.add(-self.by, std::slice::from_ref(&self.queue));
    }
}

/// What the outcomes among some messages say of the work, for [`Outcomes::happened`] once they are durable.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(Vec<(&'static str, &'static str, Vec<Phase>)>);

impl Outcomes {
    pub(crate) fn of(messages: &[Envelope]) -> Self {
        let outcomes = messages.iter().filter_map(|envelope| match &envelope.body {
            Body::Outcome(outcome) => Some(match outcome {
                Outcome::Planned { phases, .. } => (outcome.name(), "plan", phases.clone()),
                Outcome::PullRequestOpened { phases, .. } => (outcome.name(), "promote", phases.clone()),
                _ => (outcome.name(), "", Vec::new()),
            }),
            _ => None,
        });
        Self(outcomes.collect())
    }

    pub(crate) fn happened(self) {
        for (outcome, stage, phases) in self.0 {
            INSTRUMENTS
                .outcomes
                .add(1, &[KeyValue::new(attribute::OUTCOME, outcome)]);
            for phase in phases {
                let attributes = [
                    KeyValue::new(attribute::STAGE, stage),
                    KeyValue::new(attribute::PHASE, phase.name),
                ];
                let seconds = Duration::from_millis(phase.ms).as_secs_f64();
                INSTRUMENTS.hop.record(seconds, &attributes);
            }
        }
    }
}

/// Looks at all queues every 15 seconds, at once first, and keeps what it saw as gauges, until `stop` is there. A queue that can't be
/// looked at keeps its last values.
pub async fn observe_depths<Q: Queue>(queue: Q, stop: impl Future<Output = ()> + Send) {
    let mut stop = std::pin::pin!(stop);
    let mut again = tokio::time::interval(EVERY);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = again.tick() => {}
        }
        for work in Work::ALL {
            let depth = tokio::select! {
                () = &mut stop => return,
                depth = queue.depth(work) => depth,
            };
            match depth {
                Ok(depth) => observe(work, &depth),
                Err(error) => tracing::debug!(
                    queue.name = work.name(),
                    "the queue's depth is not known: {error}"
                ),
            }
        }
    }
}

fn observe(work: Work, depth: &Depth) {
    let states = [
        ("ready", depth.ready),
        ("delayed", depth.delayed),
        ("in_flight", depth.in_flight),
        ("parked", depth.parked),
    ];
    for (state, messages) in states {
        let attributes = [queue(work), KeyValue::new(attribute::STATE, state)];
        INSTRUMENTS.messages.record(messages, &attributes);
    }
    let age = depth.oldest_age.unwrap_or_default().as_secs_f64();
    INSTRUMENTS.oldest.record(age, &[queue(work)]);
}
