//! Whether the fleet can publish, found out by publishing.

use std::time::{Duration, Instant};

use super::Inner;
use super::connection::Health;
use super::message::Outgoing;
use super::publisher::Unconfirmed;
use super::topology::{self, TopologyError};

/// An answer is good for that long, so that many who ask cost nothing.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why the fleet is not ready.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AmqpError {
    /// There is no connection.
    #[error("RabbitMQ can't be reached: {why}")]
    Away {
        /// What went wrong last.
        why: String,
    },
    /// The broker takes nothing for now: it is short of memory or disk.
    #[error("RabbitMQ takes no messages for now: {why}; see its alarms")]
    Blocked {
        /// What the broker says.
        why: String,
    },
    /// Something is missing on the broker.
    #[error("the topology on RabbitMQ is not as it should be: {why}")]
    Topology {
        /// What, and what to do.
        why: String,
    },
    /// What is published gets lost.
    #[error("what is published would reach no work queue: {why}; run `lockflight topology`")]
    Unbound {
        /// What was seen.
        why: String,
    },
    /// The broker does not answer.
    #[error("RabbitMQ did not answer within {PATIENCE:?}")]
    Silent,
    /// The fleet was stopped.
    #[error("the fleet is shut down")]
    Closed,
}

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct Readiness(tokio::sync::Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    answer: Option<(Instant, Result<(), AmqpError>)>,
    /// The connection on which the topology was found right.
    checked: Option<u64>,
}

impl Readiness {
    pub(super) async fn ask(&self, fleet: &Inner) -> Result<(), AmqpError> {
        let mut last = self.0.lock().await;
        let link = fleet.connections.publishing();
        // How the connection is, is known at once.
        match &*link.health().borrow() {
            Health::Up => {}
            Health::Away(why) => return Err(AmqpError::Away { why: why.to_string() }),
            Health::Blocked(why) => return Err(AmqpError::Blocked { why: why.to_string() }),
            Health::Closed => return Err(AmqpError::Closed),
        }
        let made = link.made();
        if last.checked == Some(made)
            && let Some((at, answer)) = &last.answer
            && at.elapsed() < GOOD_FOR
        {
            return answer.clone();
        }
        let answer = match tokio::time::timeout(PATIENCE, look(fleet, last.checked != Some(made))).await {
            Ok(answer) => answer,
            Err(_) => Err(AmqpError::Silent),
        };
        last.checked = answer.is_ok().then_some(made);
        last.answer = Some((Instant::now(), answer.clone()));
        answer
    }
}

async fn look(fleet: &Inner, thoroughly: bool) -> Result<(), AmqpError> {
    if thoroughly {
        let connection = fleet.connections.publishing().connection().borrow().clone();
        let connection = connection.ok_or_else(|| AmqpError::Away {
            why: "the connection was lost".to_owned(),
        })?;
        topology::look(&connection, &fleet.names)
            .await
            .map_err(topology_error)?;
    }
    // A message that no work queue takes: it has to come as far as the queue that refuses it.
    match fleet.publisher.publish(vec![Outgoing::probe(&fleet.names)]).await {
        Err(Unconfirmed::Refused { .. }) => Ok(()),
        Err(Unconfirmed::Returned { why, .. }) => Err(AmqpError::Unbound {
            why: format!(
                "the exchange {:?} is not bound to {:?} ({why})",
                fleet.names.events(),
                fleet.names.work()
            ),
        }),
        Ok(()) => Err(AmqpError::Unbound {
            why: format!(
                "the queue {:?} does not refuse what it should",
                fleet.names.refused()
            ),
        }),
        Err(Unconfirmed::Blocked(why)) => Err(AmqpError::Blocked { why: why.to_string() }),
        Err(Unconfirmed::Closed) => Err(AmqpError::Closed),
        Err(error @ (Unconfirmed::Full { .. } | Unconfirmed::Late { .. })) => Err(AmqpError::Away {
            why: error.to_string(),
        }),
    }
}

fn topology_error(error: TopologyError) -> AmqpError {
    let mut why = error.to_string();
    if let Some(cause) = std::error::Error::source(&error) {
        why.push_str(": ");
        why.push_str(&cause.to_string());
    }
    AmqpError::Topology { why }
}
