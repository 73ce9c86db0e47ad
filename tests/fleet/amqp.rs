//! Fleets on RabbitMQ, as the tests of this target need them.

use std::time::Duration;

use lockflight_fleet::Schedule;
use lockflight_fleet::amqp::{AmqpFleet, AmqpOptions, AmqpUri, Consume, Partitions, StreamLimits, declare};
use lockflight_tests::servers::RabbitMq;
use tokio::sync::watch;

/// So many queues the steps are spread over.
pub(crate) const PARTITIONS: u16 = 2;

/// Options with waits that a test can sit out, for things on the broker that nobody else has.
pub(crate) fn options(uri: &str) -> AmqpOptions {
    AmqpOptions {
        prefix: RabbitMq::prefix(),
        partitions: PARTITIONS,
        ladder: [50, 200, 1_000].map(Duration::from_millis).to_vec(),
        max_attempts: 3,
        backoff: Schedule {
            // Long enough to be seen while it lasts, on a machine that is busy.
            initial: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(2),
            jitter: 0.0,
        },
        visibility: Duration::from_secs(3),
        confirm_timeout: Duration::from_secs(3),
        publish_deadline: Duration::from_secs(10),
        max_queue_bytes: 64 << 20,
        journal: StreamLimits {
            max_age: Duration::from_hours(1),
            max_bytes: 64 << 20,
            segment_bytes: 4 << 20,
        },
        ..AmqpOptions::new(AmqpUri::parse(uri).unwrap())
    }
}

/// The same, for a process that reaches the broker in another way.
pub(crate) fn at(options: &AmqpOptions, uri: &str) -> AmqpOptions {
    AmqpOptions {
        uri: AmqpUri::parse(uri).unwrap(),
        ..options.clone()
    }
}

/// Makes everything on the broker.
pub(crate) async fn declared(options: &AmqpOptions) {
    let made = declare(options).await;
    made.unwrap_or_else(|error| panic!("the topology can't be declared: {error}"));
}

/// A fleet that takes all work there is, as one process.
pub(crate) fn taking_all(options: &AmqpOptions) -> AmqpFleet {
    taking(options, true, Partitions::All).0
}

/// A fleet that takes these steps, and others once it is told.
pub(crate) fn taking(
    options: &AmqpOptions,
    plan: bool,
    partitions: Partitions,
) -> (AmqpFleet, watch::Sender<Partitions>) {
    let (owned, steps) = watch::channel(partitions);
    let consume = Consume {
        plan,
        steps: Some(steps),
        forward: true,
    };
    (AmqpFleet::start(options.clone(), consume), owned)
}

/// A fleet that only publishes.
pub(crate) fn publishing(options: &AmqpOptions) -> AmqpFleet {
    AmqpFleet::start(options.clone(), Consume::default())
}
