//! Acknowledgements that end, whatever becomes of the connection.
//!
//! The client's own future never ends when the connection does so while the frame is on its way to the socket (seen with lapin 4.12.3). So
//! each is given a while, and then counts as not known: the broker hands the message out once more, if it did not take the
//! acknowledgement.

use std::time::Duration;

use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::BackendError;

/// How long the client may take to hand a frame over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Acknowledges a message. `false` when its channel had died before.
///
/// # Errors
/// When it is not known whether the broker was told.
pub(super) async fn acknowledge(acker: &Acker) -> Result<bool, BackendError> {
    in_time(acker.ack(BasicAckOptions::default())).await
}

/// Gives a message back to its queue. What can't be given back now goes back with the channel.
pub(super) async fn give_back(acker: &Acker) {
    let options = BasicNackOptions {
        multiple: false,
        requeue: true,
    };
    drop(in_time(acker.nack(options)).await);
}

/// Lets the client do something that may never end.
pub(super) async fn in_time<T>(
    done: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, BackendError> {
    match tokio::time::timeout(PATIENCE, done).await {
        Ok(done) => done.map_err(BackendError::new),
        Err(_) => Err(BackendError::new(format!(
            "RabbitMQ was not told within {PATIENCE:?}"
        ))),
    }
}
