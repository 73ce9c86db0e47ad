//! Whether the fleet can publish, found out by publishing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::Connection;
use tokio::task::JoinHandle;

use super::Inner;
use super::connection::{Health, Link};
use super::message::Outgoing;
use super::names::Names;
use super::publisher::{Publisher, Unconfirmed};
use super::topology::{self, TopologyError};

/// An answer is good for that long, so that many who ask cost nothing.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long an answer may take: less than who asks for a probe waits (2 s, `lockflight_runtime::health::CHECK_TIMEOUT`), so that the reason
/// is told.
const PATIENCE: Duration = Duration::from_millis(1_500);

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
    /// The journal does not confirm.
    #[error(
        "RabbitMQ does not confirm what is published to {journal:?}, although it answers otherwise; see whether that stream has a leader \
         (`rabbitmq-streams stream_status`)"
    )]
    Late {
        /// The stream's name.
        journal: String,
    },
    /// The broker does not answer.
    #[error("RabbitMQ did not answer within {PATIENCE:?}")]
    Silent,
    /// The fleet was stopped.
    #[error("the fleet is shut down")]
    Closed,
}

/// An answer, and when it was found.
type Answer = (Instant, Result<(), AmqpError>);

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct Readiness(tokio::sync::Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    answer: Option<Answer>,
    /// The connection on which the topology was found right.
    checked: Option<u64>,
    /// Whoever looks, on that connection. It goes on when nobody waits for it any more: the next one who asks may.
    looking: Option<(u64, JoinHandle<Answer>)>,
}

impl Readiness {
    pub(super) async fn ask(&self, fleet: &Inner) -> Result<(), AmqpError> {
        let asked = tokio::time::timeout(PATIENCE, self.answer(fleet)).await;
        asked.unwrap_or(Err(AmqpError::Silent))
    }

    async fn answer(&self, fleet: &Inner) -> Result<(), AmqpError> {
        let publishing = fleet.connections.publishing();
        // How the connections are, is known at once.
        is_up(publishing)?;
        if fleet.takes_work() {
            is_up(fleet.connections.wanted_for_consuming())?;
        }
        if fleet.publisher.journal_is_late() {
            let journal = fleet.names.journal();
            return Err(AmqpError::Late { journal });
        }
        let made = publishing.made();
        let mut last = self.0.lock().await;
        if last.checked == Some(made)
            && let Some((at, answer)) = &last.answer
            && at.elapsed() < GOOD_FOR
        {
            return answer.clone();
        }
        loop {
            if last.looking.as_ref().is_none_or(|(on, _)| *on != made) {
                let connection = publishing.connection().borrow().clone();
                let thoroughly = (last.checked != Some(made)).then_some(connection);
                let (names, publisher) = (fleet.names.clone(), fleet.publisher.clone());
                let looking = tokio::spawn(async move {
                    let answer = look(names, publisher, thoroughly).await;
                    (Instant::now(), answer)
                });
                if let Some((_, other)) = last.looking.replace((made, looking)) {
                    other.abort();
                }
            }
            let found = match &mut last.looking {
                Some((_, looking)) => looking.await,
                // Cannot be: it was put there.
                None => return Err(AmqpError::Silent),
            };
            last.looking = None;
            let (at, answer) = found.unwrap_or_else(|_| (Instant::now(), Err(AmqpError::Silent)));
            if at.elapsed() >= GOOD_FOR {
                // Nobody waited for it, and it is of then.
                continue;
            }
            last.checked = answer.is_ok().then_some(made);
            last.answer = Some((at, answer.clone()));
            return answer;
        }
    }
}

fn is_up(link: &Link) -> Result<(), AmqpError> {
    match &*link.health().borrow() {
        Health::Up => Ok(()),
        Health::Away(why) => Err(AmqpError::Away { why: why.to_string() }),
        Health::Blocked(why) => Err(AmqpError::Blocked { why: why.to_string() }),
        Health::Closed => Err(AmqpError::Closed),
    }
}

/// Looks whether what is published reaches its queue; and, if it is given, whether everything is there on a connection.
async fn look(
    names: Names,
    publisher: Publisher,
    thoroughly: Option<Option<Arc<Connection>>>,
) -> Result<(), AmqpError> {
    if let Some(connection) = thoroughly {
        let connection = connection.ok_or_else(|| AmqpError::Away {
            why: "the connection was lost".to_owned(),
        })?;
        topology::look(&connection, &names)
            .await
            .map_err(topology_error)?;
    }
    // A message that no work queue takes: it has to come as far as the queue that refuses it.
    match publisher.publish(vec![Outgoing::probe(&names)]).await {
        // Taken: by a queue of somebody who listens to everything. The way is there.
        Err(Unconfirmed::Refused { .. }) | Ok(()) => Ok(()),
        Err(Unconfirmed::Returned { why, .. }) => Err(AmqpError::Unbound {
            why: format!(
                "the exchange {:?} is not bound to {:?} ({why})",
                names.events(),
                names.work()
            ),
        }),
        Err(Unconfirmed::Blocked(why)) => Err(AmqpError::Blocked { why: why.to_string() }),
        Err(Unconfirmed::Closed) => Err(AmqpError::Closed),
        Err(error @ (Unconfirmed::Untaken { .. } | Unconfirmed::Unbound { .. })) => {
            Err(AmqpError::Topology {
                why: error.to_string(),
            })
        }
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
