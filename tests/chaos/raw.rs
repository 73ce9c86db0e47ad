//! RabbitMQ without Lockflight: messages as they are on the wire, to be looked at, changed and put back.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::Value;

/// A message as it is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The same with another content.
    pub(crate) fn saying(&self, json: &Value) -> Self {
        Self {
            body: serde_json::to_vec(json).unwrap(),
            ..self.clone()
        }
    }
}

/// A connection with one channel that has confirms.
pub(crate) struct Raw {
    channel: Channel,
    connection: Connection,
}

impl Raw {
    pub(crate) async fn connect(uri: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        Self { channel, connection }
    }

    /// Publishes messages, each of which some queue has to take.
    pub(crate) async fn publish(&self, exchange: &str, messages: impl IntoIterator<Item = Message>) {
        let mut confirms = FuturesUnordered::new();
        for message in messages {
            let options = BasicPublishOptions {
                mandatory: true,
                immediate: false,
            };
            let (exchange, key) = (exchange.into(), message.key.as_str().into());
            let begun = self
                .channel
                .basic_publish(exchange, key, options, &message.body, message.properties)
                .await;
            confirms.push(begun.unwrap());
            if confirms.len() >= 500 {
                assert_eq!(confirms.next().await.unwrap().unwrap(), Confirmation::Ack(None));
            }
        }
        while let Some(confirm) = confirms.next().await {
            assert_eq!(confirm.unwrap(), Confirmation::Ack(None));
        }
    }

    /// Takes the next message of a queue.
    pub(crate) async fn take(&self, queue: &str) -> Message {
        let search = async {
            loop {
                if let Some(message) = self.get(queue).await {
                    return message;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), search).await;
        found.unwrap_or_else(|_| panic!("no message came to {queue}"))
    }

    async fn get(&self, queue: &str) -> Option<Message> {
        let options = BasicGetOptions { no_ack: true };
        let got = self.channel.basic_get(queue.into(), options).await.unwrap();
        got.map(|got| Message {
            key: got.delivery.routing_key.to_string(),
            properties: got.delivery.properties,
            body: got.delivery.data,
        })
    }

    /// Takes all that waits in a queue that nobody else consumes.
    pub(crate) async fn take_all(&self, queue: &str) -> Vec<Message> {
        let channel = self.connection.create_channel().await.unwrap();
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut consumer = consumer.await.unwrap();
        let mut taken = Vec::new();
        // Whatever waits comes without a pause.
        while let Ok(next) = tokio::time::timeout(Duration::from_secs(1), consumer.next()).await {
            let delivery = next.unwrap().unwrap();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
            taken.push(Message {
                key: delivery.routing_key.to_string(),
                properties: delivery.properties,
                body: delivery.data,
            });
        }
        channel.close(200, "goodbye".into()).await.unwrap();
        taken
    }

    /// A queue of its own that gets a copy of whatever an exchange gets under a key.
    pub(crate) async fn tap(&self, exchange: &str, key: &str) -> String {
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self
            .channel
            .queue_declare("".into(), options, FieldTable::default())
            .await;
        let queue = declared.unwrap().name().to_string();
        self.channel
            .queue_bind(
                queue.as_str().into(),
                exchange.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        queue
    }

    pub(crate) async fn purge(&self, queue: &str) {
        let purged = self
            .channel
            .queue_purge(queue.into(), QueuePurgeOptions::default());
        purged.await.unwrap();
    }
}
