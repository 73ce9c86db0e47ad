//! Queue and journal on RabbitMQ, for many processes.
//!
//! Works alike on RabbitMQ 3.10 and 4.x: quorum queues, one stream, nothing but what both know.
//!
//! - [`declare`] makes what is needed on the broker, once, when the fleet is set up; [`check`] looks whether it is there.
//! - `connection` keeps two connections alive, which `dial` makes; `publisher` and `outbox` publish with confirms; `message` is the form on the wire,
//!   `topology` the names.
//! - `consumer`, `intake` with its `lanes`, `delivery` and `queue` receive and settle; `fate` says what is published for a message that is not
//!   simply done, `moves` does so without a worker; `partitions` says who has which repository; `whole` holds consumers back until everything
//!   is there.
//! - `parked`, `dead` and `journal` are what people and the history read.

mod acknowledge;
mod connection;
mod consumer;
mod dead;
mod delivery;
mod dial;
mod fate;
mod gauges;
mod intake;
mod journal;
mod lanes;
mod measure;
mod message;
mod moves;
mod names;
mod options;
mod outbox;
mod parked;
mod partitions;
mod publisher;
mod queue;
mod ready;
mod topology;
mod trials;
mod whole;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use connection::Connections;
use dead::Dead;
pub use delivery::AmqpDelivery;
use fate::Fates;
use names::Names;
pub use names::partition_of;
pub use options::{AmqpOptions, AmqpUri, StreamLimits, UriError};
pub use partitions::owned;
use publisher::Publisher;
use queue::Intakes;
pub use ready::AmqpError;
use ready::Readiness;
pub use topology::{TopologyError, check, declare};
use whole::find_whole;

/// For how long the last messages are waited for when the fleet is stopped.
const FLUSH: Duration = Duration::from_secs(5);

/// What a process takes from the queues. A process that only publishes takes nothing.
#[derive(Clone, Debug, Default)]
pub struct Consume {
    /// Whether it takes work for planners.
    pub plan: bool,
    /// Which partitions of the work for executors it takes, and which from now on whenever that changes.
    pub steps: Option<watch::Receiver<Partitions>>,
    /// Whether it takes webhooks to be passed on.
    pub forward: bool,
}

impl Consume {
    const fn is_any(&self) -> bool {
        self.plan || self.steps.is_some() || self.forward
    }
}

/// A set of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// All that there are.
    All,
    /// These.
    Some(BTreeSet<u16>),
}

/// Queue and journal on RabbitMQ. Clones share the connections.
#[derive(Clone, Debug)]
pub struct AmqpFleet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: AmqpOptions,
    names: Names,
    connections: Connections,
    publisher: Publisher,
    readiness: Readiness,
    consume: Consume,
    intakes: Intakes,
    /// Whether everything was there once.
    whole: watch::Receiver<bool>,
    /// Nothing more is handed out.
    closing: watch::Sender<bool>,
    /// Everything has ended.
    stopped: watch::Sender<bool>,
}

impl Inner {
    const fn takes_work(&self) -> bool {
        self.consume.is_any()
    }
}

impl AmqpFleet {
    /// Starts to connect, and returns at once: [`AmqpFleet::ready`] says how that goes. Needs a tokio runtime. Consumers start with the first
    /// [`Queue::receive`](crate::Queue::receive), but not before everything that was declared has been found there once.
    ///
    /// A fleet that takes work is patient: what it publishes waits while the broker takes nothing. One that only publishes is told at once.
    #[must_use]
    pub fn start(options: AmqpOptions, consume: Consume) -> Self {
        let connections = Connections::start(&options.uri);
        let patient = consume.is_any();
        let publisher = Publisher::start(connections.publishing(), &options, patient);
        let names = Names::new(&options);
        let closing = watch::Sender::new(false);
        let (found, whole) = watch::channel(false);
        if patient {
            let connection = connections.publishing().connection();
            drop(tokio::spawn(find_whole(
                connection,
                names.clone(),
                found,
                closing.subscribe(),
            )));
        }
        if consume.plan {
            let dead = Dead {
                whole: whole.clone(),
                connection: connections.consuming(),
                publisher: publisher.clone(),
                fates: Fates {
                    options: options.clone(),
                    names: names.clone(),
                },
                closing: closing.subscribe(),
            };
            drop(tokio::spawn(dead.run()));
        }
        Self {
            inner: Arc::new(Inner {
                names,
                options,
                connections,
                publisher,
                readiness: Readiness::default(),
                consume,
                intakes: Intakes::default(),
                whole,
                closing,
                stopped: watch::Sender::new(false),
            }),
        }
    }

    /// Whether work can be published, and taken by a fleet that takes any: connected, everything is declared, and what is published reaches
    /// its queue. For a readiness probe: it answers within 1.5 seconds, and the answer may be a second old.
    ///
    /// # Errors
    /// When it can't; says what to do.
    pub async fn ready(&self) -> Result<(), AmqpError> {
        self.inner.readiness.ask(&self.inner).await
    }

    /// Hands out nothing more: each `receive` returns `None`. What is in flight can still be settled, and publishing goes on, so
    /// that workers can drain.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    /// Closes the fleet: what was received and not handed out goes back, the last messages are published, both connections are closed. Later
    /// operations report that the fleet is shut down.
    pub async fn stop(&self) {
        self.close();
        self.inner.intakes.stop(FLUSH).await;
        self.inner.publisher.stop(FLUSH).await;
        self.inner.stopped.send_replace(true);
        self.inner.connections.close().await;
    }

    fn closing(&self) -> watch::Receiver<bool> {
        self.inner.closing.subscribe()
    }
}
