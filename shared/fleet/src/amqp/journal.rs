//! The journal: a stream, which keeps what is read.
//!
//! A record's offset is its offset in the stream plus one, so that [`Offset::START`] is before the first.
//!
//! Nothing says where a stream ends: its count of messages lags by seconds, and a consumer at the end gets nothing, as does one whose
//! broker is slow. So each read first consumes from `last`, the last chunk: of that something always comes, and the rest of it comes before the
//! broker answers the next request on the same channel. What was confirmed before the read is not beyond that. Only of an empty stream
//! nothing comes at all, which takes a while to believe. (Should it be wrong, nothing is lost: [`Journal::changed`] returns at once.)
//!
//! What differs from the port: records that are appended together are not all or nothing, but in their order some may be there when the
//! append failed. And a record's time is that of its publisher.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use lockflight_promotion::message::Envelope;
use tokio::sync::watch;

use super::acknowledge::acknowledge;
use super::connection::{Unavailable, gone};
use super::message::{Outgoing, PUBLISHED, Unfit, integer, read_body};
use super::{AmqpFleet, Inner};
use crate::{BackendError, Journal, JournalError, Offset, Recorded, Schedule};

/// No answer is longer than this.
const LONGEST_READ: usize = 1_000;

/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A stream of which nothing has come for so long is empty.
const EMPTY: Duration = Duration::from_secs(2);

/// How long to wait for a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// How long to wait before the stream is watched again after that failed.
const BACKOFF: Schedule = Schedule {
    initial: Duration::from_millis(50),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: 0.3,
};

/// The header in which the broker says where a record stands.
const STREAM_OFFSET: &str = "x-stream-offset";

impl Journal for AmqpFleet {
    async fn append(&self, messages: &[Envelope]) -> Result<(), JournalError> {
        let Inner { names, options, .. } = &*self.inner;
        let records = messages.iter();
        let records: Result<Vec<Outgoing>, Unfit> = records
            .map(|envelope| Outgoing::record(envelope, names, options.max_message))
            .collect();
        Ok(self.inner.publisher.publish(records?).await?)
    }

    async fn read(&self, after: Offset, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        let limit = limit.min(LONGEST_READ);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let read = async {
            let connection = self.inner.connections.consuming_now(CONNECTING).await?;
            let queue = self.inner.names.journal();
            Ok(read(&connection, &queue, after, limit).await?)
        };
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(read) => read,
            Err(_) => Err(JournalError::Backend(BackendError::new(format!(
                "RabbitMQ did not answer within {PATIENCE:?}"
            )))),
        }
    }

    async fn changed(&self, after: Offset) {
        let mut stopped = self.stopped();
        let mut failures = 0_u32;
        loop {
            if *stopped.borrow_and_update() {
                return;
            }
            let watched = tokio::select! {
                _ = stopped.changed() => continue,
                watched = wait(&self.inner, after) => watched,
            };
            match watched {
                Ok(()) | Err(JournalError::Closed) => return,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let pause = BACKOFF.delay(failures);
                    tracing::debug!(
                        wait_ms = pause.as_millis(),
                        "the journal can't be watched: {error:?}"
                    );
                    tokio::select! {
                        _ = stopped.changed() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }
}

impl AmqpFleet {
    fn stopped(&self) -> watch::Receiver<bool> {
        self.inner.stopped.subscribe()
    }
}

async fn read(
    connection: &Connection,
    queue: &str,
    after: Offset,
    limit: usize,
) -> Result<Vec<Recorded>, lapin::Error> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(u16::MAX, BasicQosOptions::default()).await?;
    let mut tail = consume(&channel, queue, AMQPValue::LongString("last".into())).await?;
    let Ok(first) = tokio::time::timeout(EMPTY, tail.next()).await else {
        close(channel);
        return Ok(Vec::new());
    };
    let mut last = first.transpose()?.as_ref().and_then(offset);
    // All of the last chunk comes before the answer to this.
    let prefetch = u16::try_from(limit).unwrap_or(u16::MAX);
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    while let Some(Some(delivery)) = tail.next().now_or_never() {
        last = last.max(offset(&delivery?));
    }
    let mut records: Vec<Recorded> = Vec::new();
    if last > Some(after) {
        let mut consumer = consume(&channel, queue, next(after)).await?;
        while records.len() < limit && records.last().map(|record| record.offset) < last {
            let Some(delivery) = consumer.next().await else {
                break;
            };
            // The first chunk may begin earlier.
            records.extend(record(delivery?).filter(|record| record.offset > after));
        }
    }
    close(channel);
    Ok(records)
}

/// Waits until there is a record after that offset.
async fn wait(fleet: &Inner, after: Offset) -> Result<(), JournalError> {
    let connection = fleet.connections.consuming_now(CONNECTING).await?;
    let ended = |why: &str| Err(JournalError::Backend(BackendError::new(why)));
    let watch = async {
        let channel = connection.create_channel().await?;
        channel.basic_qos(1, BasicQosOptions::default()).await?;
        let mut consumer = consume(&channel, &fleet.names.journal(), next(after)).await?;
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery?;
            if offset(&delivery) > Some(after) {
                close(channel);
                return Ok(());
            }
            // Otherwise it would be the last.
            acknowledge(&delivery.acker)
                .await
                .map_err(JournalError::Backend)?;
        }
        ended("the consumer of the journal ended")
    };
    tokio::select! {
        watched = watch => watched,
        () = gone(fleet.connections.consuming(), &connection) => ended("the connection was lost"),
    }
}

async fn consume(channel: &Channel, queue: &str, from: AMQPValue) -> Result<Consumer, lapin::Error> {
    let mut arguments = FieldTable::default();
    arguments.insert(STREAM_OFFSET.into(), from);
    let options = BasicConsumeOptions::default();
    channel
        .basic_consume(queue.into(), "".into(), options, arguments)
        .await
}

/// Where the record after an offset stands in the stream.
fn next(after: Offset) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(after.0).unwrap_or(i64::MAX))
}

/// Closes a channel without waiting for it. A stream keeps what was read from it.
fn close(channel: Channel) {
    // It is gone with its connection at the latest.
    drop(tokio::spawn(
        async move { channel.close(200, "done".into()).await },
    ));
}

/// Where a record stands, as the broker says.
fn offset(delivery: &Delivery) -> Option<Offset> {
    let headers = delivery.properties.headers().as_ref()?;
    let offset = u64::try_from(integer(headers, STREAM_OFFSET)?).ok()?;
    Some(Offset(offset.saturating_add(1)))
}

fn record(delivery: Delivery) -> Option<Recorded> {
    let offset = offset(&delivery)?;
    let Delivery { properties, data, .. } = delivery;
    let published = properties
        .headers()
        .as_ref()
        .and_then(|headers| integer(headers, PUBLISHED));
    let timestamp = properties
        .timestamp()
        .and_then(|seconds| i64::try_from(seconds).ok());
    Some(Recorded {
        offset,
        recorded_at: published
            .or_else(|| timestamp.map(|seconds| seconds.saturating_mul(1_000)))
            .unwrap_or(0),
        content: read_body(&properties, &data),
    })
}

impl From<Unavailable> for JournalError {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Closed => Self::Closed,
            error @ Unavailable::Away(_) => Self::Backend(BackendError::new(error)),
        }
    }
}

impl From<lapin::Error> for JournalError {
    fn from(error: lapin::Error) -> Self {
        Self::Backend(BackendError::new(error))
    }
}
