//! Whether everything was there once. Nothing is consumed before that: what a worker decides may have to go anywhere.

use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use tokio::sync::watch;

use super::names::Names;
use super::topology::{self, TopologyError};
use crate::Schedule;

/// How long looking may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before it is looked again.
const BACKOFF: Schedule = Schedule {
    initial: Duration::from_millis(200),
    factor: 2.0,
    max: Duration::from_secs(5),
    jitter: 0.3,
};

/// Looks until everything is there, and says so; or until the fleet is closed.
pub(super) async fn find_whole(
    connection: watch::Receiver<Option<Arc<Connection>>>,
    names: Names,
    whole: watch::Sender<bool>,
    mut closing: watch::Receiver<bool>,
) {
    tokio::select! {
        // An error means that nobody is left who could want it.
        _ = closing.wait_for(|closing| *closing) => {}
        () = look(connection, &names) => {
            whole.send_replace(true);
        }
    }
}

async fn look(mut connection: watch::Receiver<Option<Arc<Connection>>>, names: &Names) {
    let mut failures = 0_u32;
    loop {
        let connected = connection.wait_for(Option::is_some).await;
        let connected = connected.ok().and_then(|connected| connected.clone());
        let Some(connected) = connected else {
            // Nobody makes connections any more.
            return std::future::pending().await;
        };
        let looked = tokio::time::timeout(PATIENCE, topology::look_for(&connected, names)).await;
        let is_connected = connected.status().connected();
        drop(connected);
        let why = match looked {
            Ok(Ok(())) => return,
            Ok(Err(error)) => full(&error),
            Err(_) => format!("RabbitMQ did not answer within {PATIENCE:?}"),
        };
        failures = failures.saturating_add(1);
        let wait = BACKOFF.delay(failures);
        if is_connected {
            tracing::warn!(
                wait_ms = wait.as_millis(),
                "no work is taken before the topology on RabbitMQ is whole: {why}"
            );
        }
        tokio::time::sleep(wait).await;
    }
}

fn full(error: &TopologyError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
