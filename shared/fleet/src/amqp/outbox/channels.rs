//! The channels that messages are published on, and what comes back on them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::AMQPValue;
use lapin::{Channel, Confirmation, Connection};

use crate::amqp::message::{Outgoing, PUBLISH, headers_of, integer};
use crate::amqp::topology;

/// How long opening the channels may take.
const OPENING: Duration = Duration::from_secs(5);

/// What the future of a message says.
#[derive(Debug)]
pub(super) enum Done {
    Answered(u64, Answer),
    /// Everything that was ready before was looked at.
    Fence,
}

/// What the broker, or the client, answered to a message.
#[derive(Debug)]
pub(super) enum Answer {
    /// The broker has it, or has returned it. With it may come a returned message, which may be another one.
    Ack(Option<Returned>),
    /// The broker refuses it.
    Nack(Option<Returned>),
    /// The channel does not work any more.
    Failed(String),
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
            Ok(Confirmation::NotRequested) => Self::Failed("it has no confirms".to_owned()),
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// The channels that messages are published on.
pub(super) struct Channels {
    /// For what goes to the journal's stream, and nothing else.
    pub(super) journaled: Channel,
    pub(super) other: Channel,
}

pub(super) type Opening = BoxFuture<'static, Result<Channels, String>>;

/// Publishes a message, and waits for the answer.
pub(super) async fn publish(channel: Channel, number: u64, message: Outgoing) -> Done {
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
    let confirmation = match sent.await {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    Done::Answered(number, confirmation.into())
}

/// Opens the channels, after a while, once the journal's stream is there.
///
/// A broker that has just started takes connections before its streams are up. What is published then it confirms, and the stream does not
/// get it (seen with 3.10.8, for up to half a second). It does say so to whoever asks for the stream.
pub(super) async fn open(
    connection: Arc<Connection>,
    journal: String,
    wait: Duration,
) -> Result<Channels, String> {
    tokio::time::sleep(wait).await;
    let one = async || {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok::<Channel, lapin::Error>(channel)
    };
    let opened = async {
        let asking = connection.create_channel().await?;
        topology::count(&asking, &journal).await?;
        asking.close(200, "it is there".into()).await?;
        let (journaled, other) = (one().await?, one().await?);
        Ok(Channels { journaled, other })
    };
    match tokio::time::timeout(OPENING, opened).await {
        Ok(opened) => opened.map_err(|error: lapin::Error| error.to_string()),
        Err(_) => Err(format!("a channel was not opened within {OPENING:?}")),
    }
}

/// Waits for the channels that are being opened, if any are.
pub(super) async fn until_open(opening: &mut Option<Opening>) -> Result<Channels, String> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}
