//! What there is on the broker, how it is declared, and how it is checked.
//!
//! Everything is durable. New messages go to the exchange `events`, which gives each to the exchange `work` and, unless it is an outcome, to
//! the journal. `work` sorts them into the queues, and outcomes into the journal; what comes again goes to `work` alone, so that the journal
//! does not have it twice. What `work` has no queue for ends in `refused`, a queue that takes nothing: the broker then nacks the message, although the
//! journal has taken it. (`events` has no such way out, on purpose: a message for nobody is nacked as long as the two exchanges are bound to each
//! other, and returned when they are not, which is how [`AmqpFleet::ready`](super::AmqpFleet::ready) finds that out.)

use std::time::Duration;

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::AmqpOptions;
use super::dial::dial;
pub(super) use super::names::Names;
use crate::BackendError;

/// How often the broker gives a message out again before it gives up on it. It also counts what only waited in a process whose connection
/// was lost, hundreds at a time, so that this is far beyond our own counts, which do not: it is for messages that end a process before it can
/// count. (Without one, RabbitMQ 4 takes 20.)
const DELIVERY_LIMIT: i64 = 1_000;

/// For queues whose messages are looked at and come back: as good as none. (Without one, RabbitMQ 4 takes 20, and drops the message.)
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// How long declaring or checking may take in all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the topology could not be declared, or is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The broker can't be reached.
    #[error(
        "RabbitMQ can't be reached at {server}; check the address, the user and its permissions for the virtual host"
    )]
    Connect {
        /// Its address, without the password.
        server: String,
        /// What the client says.
        #[source]
        source: BackendError,
    },
    /// The options make no topology.
    #[error("{reason}")]
    Options {
        /// What is wrong with them.
        reason: String,
    },
    /// Something is there already, but different.
    #[error(
        "{kind} {name:?} is there already, but different ({difference}); give the options that it was declared with, or, once it is empty, \
         delete it and declare it anew"
    )]
    Different {
        /// An exchange or a queue.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the broker says about it.
        difference: String,
    },
    /// Something is missing.
    #[error("{kind} {name:?} is missing; run `lockflight topology`")]
    Missing {
        /// An exchange or a queue.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There are more partitions than the options say: what was published to them would be left lying.
    #[error(
        "queue {name:?} is there, so that there are more than the {partitions} partitions of the options; use the greater number in every \
         process, or, once its queues beyond that are empty, delete them"
    )]
    MorePartitions {
        /// The first queue that is too many.
        name: String,
        /// What the options say.
        partitions: u16,
    },
    /// We may not do that.
    #[error(
        "the user is not allowed to use {kind} {name:?} ({reply}); give it configure, write and read permissions for it"
    )]
    Forbidden {
        /// An exchange or a queue.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the broker says.
        reply: String,
    },
    /// It failed for another reason.
    #[error("{kind} {name:?} could not be declared or looked at")]
    Backend {
        /// An exchange or a queue.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the client says.
        #[source]
        source: BackendError,
    },
    /// It took too long.
    #[error("RabbitMQ did not answer within {PATIENCE:?}")]
    Silent,
}

/// What something on the broker is.
#[derive(Clone, Debug)]
enum Item {
    Exchange {
        name: String,
        kind: ExchangeKind,
        arguments: FieldTable,
    },
    Queue {
        name: String,
        arguments: FieldTable,
    },
    /// From an exchange to a queue.
    Binding {
        from: String,
        to: String,
        key: String,
    },
    /// From an exchange to an exchange.
    Chain {
        from: String,
        to: String,
    },
}

impl Item {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Exchange { .. } => "exchange",
            Self::Queue { .. } => "queue",
            Self::Binding { .. } | Self::Chain { .. } => "binding of",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Exchange { name, .. } | Self::Queue { name, .. } => name,
            Self::Binding { to, .. } | Self::Chain { to, .. } => to,
        }
    }
}

/// Everything, in the order in which it can be declared.
fn items(options: &AmqpOptions) -> Vec<Item> {
    let names = Names::new(options);
    let mut items = Vec::new();
    let exchange = |name: String, kind, arguments| Item::Exchange {
        name,
        kind,
        arguments,
    };
    let queue = |name: String, arguments| Item::Queue { name, arguments };
    let bind = |from: String, to: String, key: &str| Item::Binding {
        from,
        to,
        key: key.to_owned(),
    };
    let bytes = || integer(options.max_queue_bytes);

    items.push(exchange(names.refused(), ExchangeKind::Fanout, table([])));
    items.push(queue(
        names.refused(),
        table([
            ("x-queue-type", text("classic")),
            ("x-max-length", integer(0)),
            ("x-overflow", text("reject-publish")),
        ]),
    ));
    items.push(bind(names.refused(), names.refused(), ""));

    // Fanouts keep the routing key that a message came with.
    items.push(exchange(names.dlx(), ExchangeKind::Fanout, table([])));
    items.push(queue(names.dead(), kept()));
    items.push(bind(names.dlx(), names.dead(), ""));
    items.push(queue(names.parked(), kept()));
    items.push(queue(names.looking(), table([("x-queue-type", text("classic"))])));

    let unroutable = [("alternate-exchange", text(&names.refused()))];
    items.push(exchange(names.work(), ExchangeKind::Topic, table(unroutable)));
    items.push(exchange(names.events(), ExchangeKind::Topic, table([])));

    items.push(queue(
        names.journal(),
        table([
            ("x-queue-type", text("stream")),
            (
                "x-max-age",
                text(&format!("{}s", options.journal.max_age.as_secs())),
            ),
            ("x-max-length-bytes", integer(options.journal.max_bytes)),
            (
                "x-stream-max-segment-size-bytes",
                integer(options.journal.segment_bytes),
            ),
        ]),
    ));

    items.push(queue(names.plan(), work_queue(&names, bytes(), false)));
    for key in ["delivery.#", "gate.#", "push.#"] {
        items.push(bind(names.work(), names.plan(), key));
    }
    items.push(queue(names.forward(), work_queue(&names, bytes(), false)));
    items.push(bind(names.work(), names.forward(), "forward.#"));
    for partition in 0..names.partitions() {
        let name = names.steps(partition);
        items.push(queue(name.clone(), work_queue(&names, bytes(), true)));
        items.push(bind(names.work(), name, &format!("step.*.p{partition:02}")));
    }

    for (rung, wait) in options.ladder.iter().enumerate() {
        let name = names.retry(rung);
        items.push(exchange(name.clone(), ExchangeKind::Fanout, table([])));
        items.push(queue(
            name.clone(),
            table([
                ("x-queue-type", text("quorum")),
                (
                    "x-message-ttl",
                    integer(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                ),
                ("x-dead-letter-exchange", text(&names.work())),
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
                ("x-max-length-bytes", bytes()),
                ("x-delivery-limit", AMQPValue::LongLongInt(NO_DELIVERY_LIMIT)),
            ]),
        ));
        items.push(bind(name.clone(), name, ""));
    }

    // The way in comes last: nothing is lost while only a part is there. The journal does not get the bodies of webhooks that are passed on
    // (`push.#`, `forward.#`).
    items.push(bind(names.work(), names.journal(), "outcome.#"));
    for key in ["delivery.#", "gate.#", "step.#"] {
        items.push(bind(names.events(), names.journal(), key));
    }
    items.push(Item::Chain {
        from: names.events(),
        to: names.work(),
    });
    items
}

fn work_queue(names: &Names, bytes: AMQPValue, single: bool) -> FieldTable {
    let mut arguments = table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", text(&names.dlx())),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-max-length-bytes", bytes),
    ]);
    if single {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    arguments
}

/// A queue whose messages stay, however often they are looked at.
fn kept() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongLongInt(NO_DELIVERY_LIMIT)),
    ])
}

fn table<const N: usize>(arguments: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert(name.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn integer(value: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Makes everything on the broker that is not there yet, and returns what there is now, a line each. Doing it again changes nothing.
///
/// A queue needs a second or two until it survives the sudden death of its broker: declare when the fleet is set up, not when work
/// waits. The user needs the permission to configure.
///
/// # Errors
/// When something is there already but different, or can't be made; says what, and what to do.
pub async fn declare(options: &AmqpOptions) -> Result<Vec<String>, TopologyError> {
    options.validate()?;
    within(async {
        let connection = connect(options).await?;
        let declared = declare_on(&connection, options).await;
        goodbye(&connection).await;
        declared
    })
    .await
}

/// Looks whether everything is there, without changing anything.
///
/// What a queue was declared with can't be looked at, and neither can bindings: [`AmqpFleet::ready`](super::AmqpFleet::ready) finds out by
/// publishing whether the way to the work queues is there.
///
/// # Errors
/// When something is missing, or there are more partitions than the options say; says what, and what to do.
pub async fn check(options: &AmqpOptions) -> Result<(), TopologyError> {
    options.validate()?;
    within(async {
        let connection = connect(options).await?;
        let looked = look(&connection, &Names::new(options)).await;
        goodbye(&connection).await;
        looked
    })
    .await
}

async fn within<T>(work: impl Future<Output = Result<T, TopologyError>>) -> Result<T, TopologyError> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or(Err(TopologyError::Silent))
}

async fn connect(options: &AmqpOptions) -> Result<Connection, TopologyError> {
    dial(&options.uri, "topology")
        .await
        .map_err(|source| TopologyError::Connect {
            server: options.uri.to_string(),
            source,
        })
}

async fn goodbye(connection: &Connection) {
    // What was to be done is done.
    drop(connection.close(200, "goodbye".into()).await);
}

async fn declare_on(connection: &Connection, options: &AmqpOptions) -> Result<Vec<String>, TopologyError> {
    // First, so that a smaller number of partitions is refused before anything is changed.
    refuse_more_partitions(connection, &Names::new(options)).await?;
    let items = items(options);
    let mut lines = Vec::new();
    let channel = open(connection, "exchange", &options.prefix).await?;
    for item in items {
        declare_item(&channel, &item)
            .await
            .map_err(|error| explain(item.kind(), item.name(), error))?;
        match item {
            Item::Exchange { name, kind, .. } => {
                let kind = if kind == ExchangeKind::Fanout {
                    "fanout"
                } else {
                    "topic"
                };
                lines.push(format!("exchange {name} ({kind})"));
            }
            Item::Queue { name, arguments } => {
                let kind = arguments
                    .inner()
                    .get("x-queue-type")
                    .and_then(AMQPValue::as_long_string);
                let kind = kind.map_or_else(String::new, ToString::to_string);
                lines.push(format!("queue {name} ({kind})"));
            }
            Item::Binding { from, to, key } if key.is_empty() => {
                lines.push(format!("binding {from} -> {to}"));
            }
            Item::Binding { from, to, key } => lines.push(format!("binding {from} -> {to} ({key})")),
            Item::Chain { from, to } => lines.push(format!("binding {from} -> {to} (#)")),
        }
    }
    Ok(lines)
}

async fn declare_item(channel: &Channel, item: &Item) -> Result<(), lapin::Error> {
    match item.clone() {
        Item::Exchange {
            name,
            kind,
            arguments,
        } => {
            let options = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            channel
                .exchange_declare(name.into(), kind, options, arguments)
                .await
        }
        Item::Queue { name, arguments } => {
            let options = QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            };
            channel
                .queue_declare(name.into(), options, arguments)
                .await
                .map(drop)
        }
        Item::Binding { from, to, key } => {
            let options = QueueBindOptions::default();
            channel
                .queue_bind(to.into(), from.into(), key.into(), options, FieldTable::default())
                .await
        }
        Item::Chain { from, to } => {
            let options = ExchangeBindOptions::default();
            channel
                .exchange_bind(to.into(), from.into(), "#".into(), options, FieldTable::default())
                .await
        }
    }
}

/// Looks whether everything is there, and nothing that would be left lying.
pub(super) async fn look(connection: &Connection, names: &Names) -> Result<(), TopologyError> {
    look_for(connection, names).await?;
    refuse_more_partitions(connection, names).await
}

/// Looks whether everything is there.
pub(super) async fn look_for(connection: &Connection, names: &Names) -> Result<(), TopologyError> {
    let channel = open(connection, "exchange", &names.events()).await?;
    for name in names.exchanges() {
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        // The kind is not looked at.
        channel
            .exchange_declare(
                name.as_str().into(),
                ExchangeKind::Topic,
                options,
                FieldTable::default(),
            )
            .await
            .map_err(|error| explain("exchange", &name, error))?;
    }
    for name in names.queues() {
        count(&channel, &name)
            .await
            .map_err(|error| explain("queue", &name, error))?;
    }
    // Whether it closes in good order changes nothing about what was seen.
    drop(channel.close(200, "looked".into()).await);
    Ok(())
}

/// How many messages of a queue are ready, by declaring it passively. When it is missing, the channel is gone with the error.
pub(super) async fn count(channel: &Channel, queue: &str) -> Result<u64, lapin::Error> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await?;
    Ok(queue.message_count().into())
}

async fn refuse_more_partitions(connection: &Connection, names: &Names) -> Result<(), TopologyError> {
    let name = names.steps(names.partitions());
    let channel = open(connection, "queue", &name).await?;
    match count(&channel, &name).await {
        Ok(_) => Err(TopologyError::MorePartitions {
            name,
            partitions: names.partitions(),
        }),
        Err(error) => match explain("queue", &name, error) {
            TopologyError::Missing { .. } => Ok(()),
            error => Err(error),
        },
    }
}

async fn open(connection: &Connection, kind: &'static str, name: &str) -> Result<Channel, TopologyError> {
    connection
        .create_channel()
        .await
        .map_err(|error| explain(kind, name, error))
}

/// What an answer of the broker means.
fn explain(kind: &'static str, name: &str, error: lapin::Error) -> TopologyError {
    let name = name.to_owned();
    let reply = match error.kind() {
        ErrorKind::ProtocolError(reply) => Some((reply.get_id(), reply.get_message().to_string())),
        _ => None,
    };
    match reply {
        Some((403, reply)) => TopologyError::Forbidden { kind, name, reply },
        Some((404, _)) => TopologyError::Missing { kind, name },
        Some((406, difference)) => TopologyError::Different {
            kind,
            name,
            difference,
        },
        _ => TopologyError::Backend {
            kind,
            name,
            source: BackendError::new(error),
        },
    }
}
