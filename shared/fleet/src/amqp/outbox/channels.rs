//! The channels that messages are published on, and what comes back on them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::AMQPValue;
use lapin::{Channel, Confirmation, Connection, ErrorKind};

use super::lane::Way;
use crate::amqp::message::{Outgoing, PUBLISH, headers_of, integer};
use crate::amqp::topology;

/// How long opening a channel may take.
const OPENING: Duration = Duration::from_secs(5);

/// What the future of a message says.
#[derive(Debug)]
pub(super) enum Done {
    Answered(Sent, Answer),
    /// The message that is for nobody came back, of that generation of its channel.
    Probed(u64, Answer),
    /// Everything that was ready before was looked at.
    Fence,
}

/// One publish of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) way: Way,
    /// Of the channel.
    pub(super) generation: u64,
}

/// What the broker, or the client, answered to a message.
#[derive(Debug)]
pub(super) enum Answer {
    /// The broker has it, or has returned it. With it may come a returned message, which may be another one.
    Ack(Option<Returned>),
    /// The broker refuses it.
    Nack(Option<Returned>),
    /// The channel does not work any more.
    Failed(Why),
}

/// Why a channel does not work any more.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub(super) text: String,
    /// What the broker said when it closed the channel, for something that was published there.
    pub(super) reply: Option<String>,
}

impl Why {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            reply: None,
        }
    }

    /// Whether the broker's words are about that exchange.
    pub(super) fn names(&self, exchange: &str) -> bool {
        // What the broker calls the exchange without a name.
        let exchange = if exchange.is_empty() {
            "amq.default"
        } else {
            exchange
        };
        let reply = self.reply.as_deref();
        reply.is_some_and(|reply| reply.contains(&format!("'{exchange}'")))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<lapin::Error> for Why {
    fn from(error: lapin::Error) -> Self {
        let reply = match error.kind() {
            // The errors that end a channel and not its connection: content too large, access refused, not found, locked,
            // precondition failed (<https://www.rabbitmq.com/amqp-0-9-1-reference#constants>).
            ErrorKind::ProtocolError(reply) if matches!(reply.get_id(), 311 | 313 | 403..=406) => {
                Some(reply.get_message().to_string())
            }
            _ => None,
        };
        Self {
            text: reply.clone().unwrap_or_else(|| error.to_string()),
            reply,
        }
    }
}

#[derive(Debug)]
pub(super) struct Returned {
    /// The number of its publish.
    pub(super) number: Option<u64>,
    pub(super) why: String,
}

impl From<BasicReturnMessage> for Returned {
    fn from(message: BasicReturnMessage) -> Self {
        let number = integer(&headers_of(&message.properties), PUBLISH);
        Self {
            number: number.and_then(|number| u64::try_from(number).ok()),
            why: message.reply_text.to_string(),
        }
    }
}

impl From<Result<Confirmation, lapin::Error>> for Answer {
    fn from(confirmation: Result<Confirmation, lapin::Error>) -> Self {
        match confirmation {
            Ok(Confirmation::Ack(returned)) => Self::Ack(returned.map(Returned::from)),
            Ok(Confirmation::Nack(returned)) => Self::Nack(returned.map(Returned::from)),
            // Confirms are always asked for.
            Ok(Confirmation::NotRequested) => Self::Failed(Why::new("it has no confirms")),
            Err(error) => Self::Failed(error.into()),
        }
    }
}

pub(super) type Opening = BoxFuture<'static, Result<Channel, Why>>;

/// Publishes a message, and waits for the answer.
pub(super) async fn publish(channel: Channel, sent: Sent, message: Outgoing) -> Done {
    Done::Answered(sent, ask(&channel, sent.number, message).await)
}

/// Publishes a message on a channel that nobody else has, so that what becomes of the channel is its doing.
pub(super) async fn publish_alone(
    connection: Arc<Connection>,
    journal: String,
    sent: Sent,
    message: Outgoing,
) -> Done {
    let answer = match open(connection, journal, Duration::ZERO).await {
        // The channel is closed when it is dropped.
        Ok(channel) => ask(&channel, sent.number, message).await,
        Err(why) => Answer::Failed(Why { reply: None, ..why }),
    };
    Done::Answered(sent, answer)
}

/// Publishes the message that is for nobody.
pub(super) async fn probe(channel: Channel, generation: u64, number: u64, message: Outgoing) -> Done {
    Done::Probed(generation, ask(&channel, number, message).await)
}

async fn ask(channel: &Channel, number: u64, message: Outgoing) -> Answer {
    let mut headers = headers_of(&message.properties);
    headers.insert(PUBLISH.into(), AMQPValue::LongLongInt(number.cast_signed()));
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let properties = message.properties.with_headers(headers);
    let sent = channel.basic_publish(
        message.exchange,
        message.routing_key,
        options,
        &message.body,
        properties,
    );
    match sent.await {
        Ok(confirm) => confirm.await.into(),
        Err(error) => Answer::Failed(error.into()),
    }
}

/// Opens a channel with confirms, after a while, once the journal's stream is there.
///
/// A broker that has just started takes connections before its streams are up. What is published then it confirms, and the stream does not
/// get it (seen with 3.10.8, for up to half a second). It does say so to whoever asks for the stream.
pub(super) async fn open(
    connection: Arc<Connection>,
    journal: String,
    wait: Duration,
) -> Result<Channel, Why> {
    tokio::time::sleep(wait).await;
    let opened = async {
        let asking = connection.create_channel().await?;
        topology::count(&asking, &journal).await?;
        asking.close(200, "it is there".into()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    };
    match tokio::time::timeout(OPENING, opened).await {
        Ok(opened) => opened.map_err(|error: lapin::Error| Why::from(error)),
        Err(_) => Err(Why::new(format!("a channel was not opened within {OPENING:?}"))),
    }
}

/// Waits for the channel that is being opened, if one is.
pub(super) async fn until_open(opening: &mut Option<Opening>) -> Result<Channel, Why> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}
