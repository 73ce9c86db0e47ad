//! RabbitMQ without Lockflight: what messages are compared with, and how they are looked at.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::sync::{mpsc, watch};

use crate::report::progress;
use crate::stage::within;

/// A message as Lockflight has published it: its key, all its properties, its body.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

impl Message {
    fn of(delivery: Delivery) -> Self {
        Self {
            key: delivery.routing_key.to_string(),
            properties: delivery.properties,
            body: delivery.data,
        }
    }

    /// The delivery that it goes back to.
    pub(crate) fn delivery(&self) -> &str {
        let id = self.properties.correlation_id().as_ref();
        id.map_or("", |id| id.as_str())
    }
}

/// A connection with one channel that has confirms.
pub(crate) struct Raw {
    connection: Connection,
    channel: Channel,
}

impl Raw {
    pub(crate) async fn connect(uri: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await;
        let connection = connection.expect("the broker takes connections");
        let channel = connection
            .create_channel()
            .await
            .expect("a channel can be opened");
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.expect("the broker confirms");
        Self { connection, channel }
    }

    async fn begin(&self, exchange: &str, message: &Message) -> lapin::Result<lapin::PublisherConfirm> {
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let (exchange, key) = (exchange.into(), message.key.as_str().into());
        let properties = message.properties.clone();
        self.channel
            .basic_publish(exchange, key, options, &message.body, properties)
            .await
    }

    /// Publishes messages and waits for all confirms.
    pub(crate) async fn publish(&self, exchange: &str, messages: &[Message]) {
        let mut confirms = Vec::new();
        for message in messages {
            confirms.push(self.begin(exchange, message).await.expect("it can be published"));
        }
        for confirm in confirms {
            assert_eq!(
                confirm.await.expect("the broker confirms"),
                Confirmation::Ack(None)
            );
        }
    }

    /// Publishes a message again and again, with so many unconfirmed at a time: confirms per second.
    pub(crate) async fn pipelined(
        &self,
        exchange: &str,
        message: &Message,
        window: usize,
        length: Duration,
    ) -> f64 {
        let begin = Instant::now();
        let mut confirmed = 0_u32;
        let mut flight = FuturesUnordered::new();
        loop {
            while flight.len() < window && begin.elapsed() < length {
                flight.push(self.begin(exchange, message).await.expect("it can be published"));
            }
            let Some(first) = flight.next().await else { break };
            let mut next = Some(first);
            while let Some(confirmation) = next {
                assert_eq!(
                    confirmation.expect("the broker confirms"),
                    Confirmation::Ack(None)
                );
                confirmed += 1;
                next = flight.next().now_or_never().flatten();
            }
        }
        f64::from(confirmed) / begin.elapsed().as_secs_f64()
    }

    /// Takes one message from a queue, if there is one.
    pub(crate) async fn get(&self, queue: &str) -> Option<Message> {
        let options = BasicGetOptions { no_ack: true };
        let got = self.channel.basic_get(queue.into(), options).await;
        got.expect("the queue is there")
            .map(|got| Message::of(got.delivery))
    }

    /// Takes so many messages of these deliveries from the queues of the steps, which nobody else may consume meanwhile.
    pub(crate) async fn take_steps(uri: &str, deliveries: &[&str], count: usize) -> Vec<Message> {
        let raw = Self::connect(uri).await;
        let queues: Vec<_> = (0..16)
            .map(|partition| format!("lockflight.steps.{partition:02}"))
            .collect();
        let mut coming = raw.consume(&queues).await;
        let mut taken = Vec::new();
        let mut ids = HashSet::new();
        let take = async {
            // A message may come twice, and one of an earlier run late.
            while taken.len() < count {
                let (_, message) = coming.recv().await.expect("the channel is open");
                let id = message
                    .properties
                    .message_id()
                    .clone()
                    .expect("it is one of ours");
                let is_one = deliveries.contains(&message.delivery());
                if is_one && ids.insert(id.to_string()) {
                    taken.push(message);
                } else {
                    let what = if is_one {
                        "came twice"
                    } else {
                        "is of an earlier run"
                    };
                    progress(&format!("{} {id} {what}", message.key));
                }
            }
        };
        within(take, "all steps to be planned").await;
        let closed = raw.connection.close(200, "goodbye".into()).await;
        closed.expect("a connection can be closed");
        // The broker gives back what it had handed out last and not yet written down as taken.
        let raw = Self::connect(uri).await;
        let mut left = 1;
        while left > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            left = 0;
            for queue in &queues {
                left += raw.purge(queue).await;
            }
            if left > 0 {
                progress(&format!("{left} messages came back, and were thrown away"));
            }
        }
        taken
    }

    /// Throws away what waits in a queue; how much that was.
    pub(crate) async fn purge(&self, queue: &str) -> u32 {
        let purged = self
            .channel
            .queue_purge(queue.into(), QueuePurgeOptions::default())
            .await;
        purged.expect("a queue can be purged")
    }

    pub(crate) async fn purge_all(&self) {
        self.purge("lockflight.plan").await;
        for partition in 0..16 {
            self.purge(&format!("lockflight.steps.{partition:02}")).await;
        }
    }

    /// Gives whatever comes to these queues, with the moment in which it came.
    pub(crate) async fn consume(&self, queues: &[String]) -> mpsc::UnboundedReceiver<(Instant, Message)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for queue in queues {
            let options = BasicConsumeOptions {
                no_ack: true,
                ..BasicConsumeOptions::default()
            };
            let consumer = self
                .channel
                .basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default())
                .await;
            let mut consumer = consumer.expect("the queue is there");
            let sender = sender.clone();
            // Ends with the channel.
            drop(tokio::spawn(async move {
                while let Some(Ok(delivery)) = consumer.next().await {
                    if sender.send((Instant::now(), Message::of(delivery))).is_err() {
                        return;
                    }
                }
            }));
        }
        receiver
    }

    /// A copy of whatever an exchange gets from now on under these keys.
    pub(crate) async fn tap(&self, exchange: &str, keys: &[&str]) -> Tap {
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self
            .channel
            .queue_declare("".into(), options, FieldTable::default())
            .await;
        let queue = declared.expect("a queue can be declared").name().to_string();
        for key in keys {
            let bound = self
                .channel
                .queue_bind(
                    queue.as_str().into(),
                    exchange.into(),
                    (*key).into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await;
            bound.expect("the exchange is there");
        }
        let mut coming = self.consume(&[queue]).await;
        let tap = Tap {
            seen: Arc::default(),
            count: watch::Sender::new(0),
        };
        let own = tap.clone();
        drop(tokio::spawn(async move {
            while let Some(message) = coming.recv().await {
                own.seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(message);
                own.count.send_modify(|count| *count += 1);
            }
        }));
        tap
    }
}

/// Messages that were seen to be published.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    seen: Arc<Mutex<Vec<(Instant, Message)>>>,
    count: watch::Sender<usize>,
}

impl Tap {
    /// Those of one delivery, and when they came.
    pub(crate) fn of(&self, delivery: &str) -> Vec<(Instant, Message)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of = seen.iter().filter(|(_, message)| message.delivery() == delivery);
        of.cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// All of them, which are then forgotten.
    pub(crate) fn drain(&self) -> Vec<(Instant, Message)> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
