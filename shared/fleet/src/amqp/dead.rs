//! What the broker gave up on becomes a parked message.
//!
//! A message that was handed out too often, although its header did not count that, such as one whose worker dies each time, ends in a queue of
//! its own. From there a planner's process parks it, with the reason, and tells the journal first; then it acknowledges it. A crash in between doubles.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, Consumer};
use tokio::sync::watch;

use super::acknowledge::acknowledge;
use super::connection::gone;
use super::fate::Fates;
use super::message::Incoming;
use super::publisher::Publisher;
use crate::Schedule;

/// How many are parked at a time.
const WINDOW: u16 = 16;

/// How long to wait after something failed.
const BACKOFF: Schedule = Schedule {
    initial: Duration::from_millis(100),
    factor: 2.0,
    max: Duration::from_secs(5),
    jitter: 0.3,
};

/// The consumer of what the broker gave up on.
pub(super) struct Dead {
    pub(super) connection: watch::Receiver<Option<Arc<Connection>>>,
    pub(super) publisher: Publisher,
    pub(super) fates: Fates,
    pub(super) closing: watch::Receiver<bool>,
    /// Whether everything was there once.
    pub(super) whole: watch::Receiver<bool>,
}

impl Dead {
    /// Parks what comes, until the fleet is closed.
    pub(super) async fn run(mut self) {
        let mut closing = self.closing.clone();
        tokio::select! {
            // What is in hand goes back with the connection.
            _ = closing.wait_for(|closing| *closing) => {}
            () = self.forever() => {}
        }
    }

    async fn forever(&mut self) {
        if self.whole.wait_for(|whole| *whole).await.is_err() {
            return;
        }
        let mut failures = 0_u32;
        loop {
            let connection = match self.connection.wait_for(Option::is_some).await {
                Ok(connection) => connection.clone(),
                Err(_) => return,
            };
            let Some(connection) = connection else { continue };
            let work = async {
                match open(&connection, &self.fates.names.dead()).await {
                    Ok(consumer) => self.park_all(consumer, &mut failures).await,
                    Err(error) => error.to_string(),
                }
            };
            let ended = tokio::select! {
                ended = work => ended,
                () = gone(self.connection.clone(), &connection) => "the connection was lost".to_owned(),
            };
            failures = failures.saturating_add(1);
            let wait = BACKOFF.delay(failures);
            tracing::debug!(
                wait_ms = wait.as_millis(),
                "what RabbitMQ gave up on is not looked at: {ended}"
            );
            tokio::time::sleep(wait).await;
        }
    }

    /// Parks messages until something fails, and says what.
    async fn park_all(&self, mut consumer: Consumer, failures: &mut u32) -> String {
        while let Some(delivery) = consumer.next().await {
            let delivery = match delivery {
                Ok(delivery) => delivery,
                Err(error) => return error.to_string(),
            };
            let incoming = Incoming::read(delivery);
            let reason = reason(&incoming);
            // It stays where it is until it is known to be parked.
            for message in self.fates.parked(&incoming, &reason) {
                // The journal is told first: each time that it can't be, another one would be parked.
                if let Err(error) = self.publisher.publish(vec![message]).await {
                    return error.to_string();
                }
            }
            tracing::error!(repo.id = %incoming.repo, key = %incoming.routing_key, "a message was parked: {reason}");
            match acknowledge(&incoming.acker).await {
                Ok(true) => *failures = 0,
                Ok(false) => return "the connection was lost".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
        "the consumer ended".to_owned()
    }
}

async fn open(connection: &Connection, queue: &str) -> Result<Consumer, lapin::Error> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(WINDOW, BasicQosOptions::default()).await?;
    channel
        .basic_consume(
            queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
}

/// Why the broker gave up on it, for people.
fn reason(incoming: &Incoming) -> String {
    let why = match first_death(&incoming.properties).as_deref() {
        Some("delivery_limit") => {
            "it was handed out again and again and never settled; its worker may die of it".to_owned()
        }
        Some(why) => format!("its queue says {why:?}"),
        None => "its queue does not say why".to_owned(),
    };
    let last = incoming.reason.as_deref();
    let last = last.map_or_else(String::new, |last| format!(" (before that: {last})"));
    format!("RabbitMQ gave up on the message: {why}{last}")
}

/// What the broker says of the first queue that gave up on it. A hint for people, nothing depends on it.
fn first_death(properties: &BasicProperties) -> Option<String> {
    let headers = properties.headers().as_ref()?;
    match headers.inner().get("x-first-death-reason")? {
        AMQPValue::LongString(why) => Some(why.to_string()),
        AMQPValue::ShortString(why) => Some(why.to_string()),
        _ => None,
    }
}
