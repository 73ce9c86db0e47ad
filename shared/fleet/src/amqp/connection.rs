//! Connections that are made anew for as long as the fleet lives.
//!
//! There are two, since a broker that is short of memory or disk stops reading from connections that publish, and acknowledgements have to
//! go on: one for publishing, one for everything else. Each has a supervisor of its own, which connects, watches, and begins again when
//! the connection is lost, without end. A connection that was lost is never repaired: its channels, consumers and what was not confirmed
//! are gone with it, and whoever used it sees that at once and starts anew on the next one. (The client's own recovery is off: while it
//! recovers it says nothing, and what is in flight hangs.)

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _};
use lapin::{Connection, Event};
use tokio::sync::{Notify, watch};

use super::dial::dial;
use super::gauges;
use super::options::AmqpUri;
use crate::Schedule;

/// For how long a connection is asked to close in good order.
const GOODBYE: Duration = Duration::from_secs(2);

/// How often a connection is looked at: a broker that closes it in good order (a shutdown) causes no event.
const LOOK: Duration = Duration::from_millis(250);

/// A connection that lived that long ends the row of failures.
const SETTLED: Duration = Duration::from_secs(10);

/// The names of the connections, in the broker's list, in logs and metrics.
const PUBLISH: &str = "publish";
const CONSUME: &str = "consume";

/// How long to wait between attempts.
const BACKOFF: Schedule = Schedule {
    initial: Duration::from_millis(100),
    factor: 2.0,
    max: Duration::from_secs(5),
    jitter: 0.3,
};

/// The two connections.
#[derive(Debug)]
pub(super) struct Connections {
    publishing: Link,
    consuming: Link,
}

impl Connections {
    /// Starts both supervisors. The connection for consuming is made when it is first asked for.
    pub(super) fn start(uri: &AmqpUri) -> Self {
        let publishing = Link::start(uri.clone(), PUBLISH);
        publishing.want();
        Self {
            publishing,
            consuming: Link::start(uri.clone(), CONSUME),
        }
    }

    /// The connection for publishing alone.
    pub(super) const fn publishing(&self) -> &Link {
        &self.publishing
    }

    /// The connection for everything but publishing: the one of the moment, none while there is none. Each that is made is a new value.
    pub(super) fn consuming(&self) -> watch::Receiver<Option<Arc<Connection>>> {
        self.consuming.want();
        self.consuming.shared.connection.subscribe()
    }

    /// The connection for everything but publishing, which is made if it is not there.
    pub(super) fn wanted_for_consuming(&self) -> &Link {
        self.consuming.want();
        &self.consuming
    }

    /// Waits for the connection for consuming, for a while.
    pub(super) async fn consuming_now(&self, patience: Duration) -> Result<Arc<Connection>, Unavailable> {
        let mut connection = self.consuming();
        let waited = tokio::time::timeout(patience, connection.wait_for(Option::is_some)).await;
        match waited {
            Ok(Ok(connection)) => connection.clone().ok_or(Unavailable::Closed),
            Ok(Err(_)) => Err(Unavailable::Closed),
            Err(_) => match &*self.consuming.shared.health.borrow() {
                Health::Closed => Err(Unavailable::Closed),
                health => Err(Unavailable::Away(health.to_string())),
            },
        }
    }

    /// Closes both for good.
    pub(super) async fn close(&self) {
        tokio::join!(self.publishing.close(), self.consuming.close());
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for link in [&self.publishing, &self.consuming] {
            link.shared.wanted.send_replace(Want::Closed);
        }
    }
}

/// Waits until a connection is not the one of the moment any more. What is asked of the client while its connection ends may never be answered.
pub(super) async fn gone(mut now: watch::Receiver<Option<Arc<Connection>>>, connection: &Arc<Connection>) {
    let is_same =
        |now: &Option<Arc<Connection>>| now.as_ref().is_some_and(|now| Arc::ptr_eq(now, connection));
    // An error means that nobody makes connections any more.
    drop(now.wait_for(|now| !is_same(now)).await);
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("the connection was closed")]
    Closed,
    #[error("RabbitMQ can't be reached: {0}")]
    Away(String),
}

/// How a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// There is none (yet), and why.
    Away(Arc<str>),
    /// It works.
    Up,
    /// The broker takes no messages for now, and why.
    Blocked(Arc<str>),
    /// It was closed by us, for good.
    Closed,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => f.write_str(why),
            Self::Up => f.write_str("connected"),
            Self::Blocked(why) => write!(f, "RabbitMQ takes no messages for now: {why}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// One connection under supervision. Clones are the same one.
#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    uri: AmqpUri,
    name: &'static str,
    connection: watch::Sender<Option<Arc<Connection>>>,
    health: watch::Sender<Health>,
    /// How often a connection was made.
    made: watch::Sender<u64>,
    wanted: watch::Sender<Want>,
    given_up: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    NotYet,
    Connected,
    Closed,
}

impl Shared {
    /// The connection stands, and the broker takes what is published on it, or does not.
    fn block(&self, why: Option<Arc<str>>) {
        // Only what publishes is ever blocked.
        if self.name == PUBLISH {
            gauges::blocked(why.is_some());
        }
        self.health.send_replace(why.map_or(Health::Up, Health::Blocked));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("uri", &self.shared.uri)
            .field("name", &self.shared.name)
            .field("health", &*self.shared.health.borrow())
            .finish_non_exhaustive()
    }
}

impl Link {
    fn start(uri: AmqpUri, name: &'static str) -> Self {
        let shared = Arc::new(Shared {
            uri,
            name,
            connection: watch::Sender::new(None),
            health: watch::Sender::new(Health::Away("not connected yet".into())),
            made: watch::Sender::new(0),
            wanted: watch::Sender::new(Want::NotYet),
            given_up: Notify::new(),
        });
        tokio::spawn(supervise(Arc::clone(&shared)));
        Self { shared }
    }

    fn want(&self) {
        self.shared.wanted.send_if_modified(|want| {
            let first = *want == Want::NotYet;
            if first {
                *want = Want::Connected;
            }
            first
        });
    }

    /// The connection of the moment.
    pub(super) fn connection(&self) -> watch::Receiver<Option<Arc<Connection>>> {
        self.shared.connection.subscribe()
    }

    /// How it is.
    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Whether the broker takes nothing for now.
    pub(super) fn is_blocked(&self) -> bool {
        matches!(&*self.shared.health.borrow(), Health::Blocked(_))
    }

    /// How often a connection was made: another number means another connection.
    pub(super) fn made(&self) -> u64 {
        *self.shared.made.borrow()
    }

    /// Gives the connection up, since it does not do what it should: another one is made.
    pub(super) fn give_up(&self) {
        self.shared.given_up.notify_one();
    }

    /// Closes it for good, within a few seconds.
    pub(super) async fn close(&self) {
        self.shared.wanted.send_replace(Want::Closed);
        let mut health = self.health();
        // Whether in good order or not: after that time it is given up.
        drop(
            tokio::time::timeout(
                GOODBYE + LOOK,
                health.wait_for(|health| *health == Health::Closed),
            )
            .await,
        );
    }
}

async fn supervise(link: Arc<Shared>) {
    let mut wanted = link.wanted.subscribe();
    if wanted.wait_for(|want| *want != Want::NotYet).await.is_err() {
        return;
    }
    let mut failures = 0_u32;
    loop {
        let lost = tokio::select! {
            () = closed(&mut wanted) => break,
            connected = connect(&link) => match connected {
                Err(why) => why,
                Ok(connection) => {
                    let since = Instant::now();
                    let connection = Arc::new(connection);
                    // Whoever gave up meant one before.
                    link.given_up.notified().now_or_never().unwrap_or_default();
                    link.made.send_modify(|made| *made += 1);
                    if *link.made.borrow() > 1 {
                        gauges::reconnected(link.name);
                    }
                    gauges::connected(link.name, true);
                    let lost = attend(&link, &connection, &mut wanted).await;
                    link.connection.send_replace(None);
                    gauges::connected(link.name, false);
                    if link.name == PUBLISH {
                        gauges::blocked(false);
                    }
                    let Some(why) = lost else {
                        say_goodbye(&connection).await;
                        see_off(connection).await;
                        break;
                    };
                    link.health.send_replace(Health::Away(why.as_str().into()));
                    tokio::spawn(async move { say_goodbye(&connection).await });
                    if since.elapsed() >= SETTLED {
                        failures = 0;
                    }
                    why
                }
            },
        };
        failures = failures.saturating_add(1);
        let wait = BACKOFF.delay(failures);
        tracing::warn!(
            connection = link.name, server = %link.uri, wait_ms = wait.as_millis(),
            "no connection to RabbitMQ; trying again in {wait:?}: {lost}"
        );
        link.health.send_replace(Health::Away(lost.into()));
        tokio::select! {
            () = closed(&mut wanted) => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    link.connection.send_replace(None);
    link.health.send_replace(Health::Closed);
}

/// Waits until the connection is to be closed.
async fn closed(wanted: &mut watch::Receiver<Want>) {
    // An error means that nobody is left who could want anything.
    drop(wanted.wait_for(|want| *want == Want::Closed).await);
}

async fn connect(link: &Shared) -> Result<Connection, String> {
    dial(&link.uri, link.name)
        .await
        .map_err(|error| error.to_string())
}

/// Watches a connection until it is lost, and returns why; none when it is to be closed.
async fn attend(
    link: &Shared,
    connection: &Arc<Connection>,
    wanted: &mut watch::Receiver<Want>,
) -> Option<String> {
    let mut events = Box::pin(connection.events_listener());
    let mut look = tokio::time::interval(LOOK);
    tracing::info!(connection = link.name, server = %link.uri, "connected to RabbitMQ");
    // That may have been said before anybody listened.
    let blocked = connection.status().blocked().then(|| "it said so at once".into());
    link.block(blocked);
    link.connection.send_replace(Some(Arc::clone(connection)));
    loop {
        tokio::select! {
            () = closed(wanted) => return None,
            () = link.given_up.notified() => {
                return Some("it was given up, since it confirmed nothing".to_owned());
            }
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(why)) => {
                    tracing::warn!(connection = link.name, "RabbitMQ takes no messages for now: {why}");
                    link.block(Some(why.into()));
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!(connection = link.name, "RabbitMQ takes messages again");
                    link.block(None);
                }
                // The client reports the errors of single channels here, too.
                Some(Event::Error(error)) if !connection.status().connected() => return Some(error.to_string()),
                Some(_) => {}
                None => return Some("it ended".to_owned()),
            },
            _ = look.tick() => {
                if !connection.status().connected() {
                    return Some("it was closed by the broker".to_owned());
                }
            }
        }
    }
}

/// Closes a connection in good order if it can be, so that the broker need not wait for heartbeats. What is left of it goes by itself.
async fn say_goodbye(connection: &Connection) {
    if connection.status().connected() {
        // It may be dead or blocked: nothing depends on this.
        drop(tokio::time::timeout(GOODBYE, connection.close(200, "goodbye".into())).await);
    }
}

/// Waits, for a short while, until the client's own thread has ended: one that outlives the runtime panics.
async fn see_off(mut connection: Arc<Connection>) {
    let until = Instant::now() + GOODBYE;
    let connection = loop {
        connection = match Arc::try_unwrap(connection) {
            Ok(connection) => break connection,
            // Publisher and consumers are about to let go of it.
            Err(shared) if Instant::now() < until => shared,
            Err(_) => return,
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread ends by itself, and nothing is to be measured"
    )]
    let thread = tokio::task::spawn_blocking(move || connection.run());
    drop(tokio::time::timeout(GOODBYE, thread).await);
}
