//! The consumers: one per queue, each on a channel of its own, made anew whenever its channel or its connection is lost.
//!
//! The prefetch is set per consumer, never for a whole connection, which quorum queues refuse. Nothing is acknowledged by the broker on its own.
//!
//! When a partition goes to another executor, its consumer first takes nothing more into hand, waits until what is in hand is settled and what is
//! on its way elsewhere has gone, and then closes its channel: all at once the queue goes to its next consumer, and what was waiting here goes back, in its order. Until
//! then the queue's single active consumer holds the new owner off. A worker that takes longer than the visibility timeout over it does not
//! hold the partition up any longer; what it has is then given away, and its settlement is refused.
//!
//! A repository that floods its partition would fill the window, and hold up all that is behind it. So when most of the window is of one
//! repository, the consumer is replaced by another one on the same channel, which gets a window of its own: what was fetched stays where it is,
//! unsettled, in its order, and the next ones are fetched after it. When the flood is over there is one window again. (A window can't be
//! changed while its consumer lives, and a second consumer would wait for the first to go.) Beyond [`MOST_WINDOWS`] or [`MOST_BYTES`] the others do wait. Should
//! another process believe that it owns the partition, it may get what comes next meanwhile, as it may in any change of hands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use lockflight_promotion::RepoId;
use tokio::sync::watch;

use super::Partitions;
use super::acknowledge::{give_back, in_time};
use super::intake::{Feed, Intake};
use super::message::{Incoming, short};
use crate::{BackendError, Schedule, Work};

/// How long opening a channel and a consumer may take.
const OPENING: Duration = Duration::from_secs(10);

/// How long a channel is asked to close in good order.
const GOODBYE: Duration = Duration::from_secs(2);

/// A consumer that lived that long ends the row of failures.
const SETTLED: Duration = Duration::from_secs(10);

/// How long to wait between attempts.
const BACKOFF: Schedule = Schedule {
    initial: Duration::from_millis(50),
    factor: 2.0,
    max: Duration::from_secs(5),
    jitter: 0.3,
};

/// Steps of one repository are fetched for so many windows at most.
const MOST_WINDOWS: usize = 32;

/// And only while fewer bytes than that wait of it.
const MOST_BYTES: usize = 64 << 20;

/// The connection of the moment.
pub(super) type Connected = watch::Receiver<Option<Arc<Connection>>>;

/// A consumer that is yet to run.
#[derive(Debug)]
pub(super) struct Consuming {
    pub(super) intake: Arc<Intake>,
    pub(super) queue: String,
    /// How many messages it holds, at most.
    pub(super) window: u16,
    pub(super) connection: Connected,
    pub(super) wanted: Wanted,
    /// The fleet is stopped: nothing is waited for any more.
    pub(super) stopped: watch::Receiver<bool>,
    /// Whether everything was there once.
    pub(super) whole: watch::Receiver<bool>,
}

/// Whether a queue is to be consumed.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) closing: watch::Receiver<bool>,
    /// The partition, and which ones are ours.
    pub(super) partition: Option<(u16, watch::Receiver<Partitions>)>,
}

impl Wanted {
    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    fn now(&self) -> bool {
        let ours = self
            .partition
            .as_ref()
            .is_none_or(|(partition, ours)| match &*ours.borrow() {
                Partitions::All => true,
                Partitions::Some(ours) => ours.contains(partition),
            });
        ours && !self.is_closing()
    }

    /// Waits for any change.
    async fn changed(&mut self) {
        let partition = async {
            let Some((_, ours)) = &mut self.partition else {
                return std::future::pending().await;
            };
            // Nobody is left who could change it.
            if ours.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let closing = async {
            if self.closing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = partition => {}
            () = closing => {}
        }
    }
}

/// How a consumer ended.
enum Ended {
    /// It was not wanted any more, and everything in hand is settled.
    Left,
    /// The fleet is stopped.
    Stopped,
    /// The channel or its connection is gone, or never came to be.
    Lost(String),
}

impl Consuming {
    /// Consumes whenever it is wanted, until the fleet is stopped.
    pub(super) async fn run(mut self) {
        tokio::select! {
            whole = self.whole.wait_for(|whole| *whole) => if whole.is_err() {
                return;
            },
            () = stopped(&mut self.stopped) => return,
        }
        let mut failures = 0_u32;
        loop {
            if *self.stopped.borrow() {
                return;
            }
            if !self.wanted.now() {
                tokio::select! {
                    () = self.wanted.changed() => {}
                    () = stopped(&mut self.stopped) => return,
                }
                continue;
            }
            let connected = self.connection.wait_for(|connection| {
                let connection = connection.as_ref();
                connection.is_some_and(|connection| connection.status().connected())
            });
            let connection = tokio::select! {
                connection = connected => match connection {
                    Ok(connection) => connection.clone(),
                    // The supervisor has ended.
                    Err(_) => return,
                },
                () = self.wanted.changed() => continue,
                () = stopped(&mut self.stopped) => return,
            };
            let Some(connection) = connection else { continue };
            let since = Instant::now();
            match self.consume(&connection).await {
                Ended::Stopped => return,
                Ended::Left => {
                    tracing::info!(queue = self.queue, "left the queue to others");
                    failures = 0;
                }
                Ended::Lost(why) => {
                    if since.elapsed() >= SETTLED {
                        failures = 0;
                    }
                    failures = failures.saturating_add(1);
                    let wait = BACKOFF.delay(failures);
                    if connection.status().connected() {
                        tracing::warn!(
                            queue = self.queue,
                            "a consumer ended; beginning again in {wait:?}: {why}"
                        );
                    } else {
                        // The connection's supervisor tells it once, for all consumers.
                        tracing::debug!(queue = self.queue, "a consumer ended with its connection: {why}");
                    }
                    // Its supervisor waits for those who still have it.
                    drop(connection);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stopped(&mut self.stopped) => return,
                    }
                }
            }
        }
    }

    async fn consume(&mut self, connection: &Arc<Connection>) -> Ended {
        let opening = tokio::time::timeout(OPENING, open(connection, &self.queue, self.window));
        let (channel, mut consumer) = match opening.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Ended::Lost(error.to_string()),
            Err(_) => return Ended::Lost(format!("the channel was not open after {OPENING:?}")),
        };
        tracing::debug!(queue = self.queue, "consuming");
        let feed = self.intake.feed();
        let mut replaced = self.connection.clone();
        let mut ended = tokio::select! {
            ended = self.feed(&feed, &channel, &mut consumer) => ended,
            () = another(&mut replaced, connection) => lost(),
        };
        if matches!(ended, Ended::Left) {
            ended = tokio::select! {
                ended = self.leave(&feed, &channel, &mut consumer) => ended,
                () = another(&mut replaced, connection) => lost(),
            };
        }
        if !matches!(ended, Ended::Lost(_)) {
            // All that is not settled goes back to the queue with the channel, which needs no answer for that.
            drop(tokio::time::timeout(GOODBYE, channel.close(200, "goodbye".into())).await);
        }
        self.intake.forget(&feed);
        ended
    }

    /// Takes in what comes, until that is not wanted any more.
    async fn feed(&mut self, feed: &Arc<Feed>, channel: &Channel, consumer: &mut Consumer) -> Ended {
        // As many as there are of it, there are messages of this window here, and it.
        let mut window = Arc::new(());
        loop {
            tokio::select! {
                () = stopped(&mut self.stopped) => return Ended::Stopped,
                () = self.wanted.changed() => {
                    if !self.wanted.now() {
                        return Ended::Left;
                    }
                }
                next = consumer.next() => match next {
                    Some(Ok(delivery)) => {
                        let incoming = Incoming::read(delivery);
                        let repo = incoming.repo;
                        self.intake.arrived(feed, &window, incoming);
                        if self.is_flooded(repo, &window) {
                            let more = self.another_window(feed, &mut window, channel, consumer);
                            if let Err(error) = more.await {
                                return Ended::Lost(error.to_string());
                            }
                        }
                    }
                    Some(Err(error)) => return Ended::Lost(error.to_string()),
                    None => return Ended::Lost("the broker cancelled the consumer".to_owned()),
                },
            }
        }
    }

    /// Whether a window is about to be full, and most of it is of one repository.
    fn is_flooded(&self, repo: RepoId, window: &Arc<()>) -> bool {
        let size = usize::from(self.window);
        // Nothing has an order among planners, and whoever has a worker to spare fetches what is next.
        self.intake.work == Work::Steps
            && Arc::strong_count(window) > size - size / 8
            && (size / 2 + 1..size * MOST_WINDOWS).contains(&self.intake.waiting_of(repo))
            && self.intake.waiting_bytes_of(repo) < MOST_BYTES
    }

    /// Fetches more, without giving back what was fetched.
    async fn another_window(
        &self,
        feed: &Arc<Feed>,
        window: &mut Arc<()>,
        channel: &Channel,
        consumer: &mut Consumer,
    ) -> Result<(), BackendError> {
        let tag = consumer.tag();
        in_time(channel.basic_cancel(tag, BasicCancelOptions::default())).await?;
        // What was on its way.
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery.map_err(BackendError::new)?;
            self.intake.arrived(feed, window, Incoming::read(delivery));
        }
        *consumer = in_time(consume(channel, &self.queue)).await?;
        *window = Arc::new(());
        tracing::debug!(
            queue = self.queue,
            "fetching more: one repository fills the window"
        );
        Ok(())
    }

    /// Waits until what is in hand is settled, and what goes elsewhere has gone.
    async fn leave(&mut self, feed: &Arc<Feed>, channel: &Channel, consumer: &mut Consumer) -> Ended {
        let waiting = self.intake.withdraw(feed);
        // Other work than steps has no order, so what nobody has begun with can go to other processes at once.
        let gives_back = self.intake.work != Work::Steps;
        if gives_back {
            let tag = consumer.tag();
            if let Err(error) = in_time(channel.basic_cancel(tag, BasicCancelOptions::default())).await {
                return Ended::Lost(error.to_string());
            }
            for incoming in waiting {
                // What can't be given back now goes back with the channel.
                give_back(&incoming.acker).await;
            }
        }
        let mut changes = self.intake.changes();
        let overdue = tokio::time::sleep(self.intake.fates.options.visibility);
        let mut overdue = std::pin::pin!(overdue);
        let mut cancelled = false;
        loop {
            changes.mark_unchanged();
            if self.intake.in_hand_of(feed) == 0 && !feed.is_moving() {
                return Ended::Left;
            }
            let is_closing = self.wanted.is_closing();
            tokio::select! {
                () = stopped(&mut self.stopped) => return Ended::Stopped,
                // At the end of the process there is no hurry: its own deadline ends it.
                () = &mut overdue, if !is_closing => return Ended::Left,
                () = self.wanted.changed() => {}
                _ = changes.changed() => {}
                next = consumer.next(), if !cancelled => match next {
                    Some(Ok(delivery)) if gives_back => give_back(&delivery.acker).await,
                    Some(Ok(delivery)) => self.intake.arrived_late(feed, Incoming::read(delivery)),
                    Some(Err(error)) => return Ended::Lost(error.to_string()),
                    None if gives_back => cancelled = true,
                    None => return Ended::Lost("the broker cancelled the consumer".to_owned()),
                },
            }
        }
    }
}

async fn open(
    connection: &Connection,
    queue: &str,
    window: u16,
) -> Result<(Channel, Consumer), lapin::Error> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(window, BasicQosOptions::default()).await?;
    let consumer = consume(&channel, queue).await?;
    Ok((channel, consumer))
}

async fn consume(channel: &Channel, queue: &str) -> Result<Consumer, lapin::Error> {
    let options = BasicConsumeOptions::default();
    channel
        .basic_consume(short(queue), "".into(), options, FieldTable::default())
        .await
}

/// Waits until this connection is not the one of the moment any more. Not every consumer is told when its connection dies.
async fn another(current: &mut Connected, mine: &Arc<Connection>) {
    let others = |current: &Option<Arc<Connection>>| {
        current.as_ref().is_none_or(|current| !Arc::ptr_eq(current, mine))
    };
    // Without a supervisor there is no connection, either.
    drop(current.wait_for(others).await);
}

fn lost() -> Ended {
    Ended::Lost("its connection is gone".to_owned())
}

/// Waits until the fleet is stopped.
pub(super) async fn stopped(stopped: &mut watch::Receiver<bool>) {
    // Without its sender the fleet is gone, too.
    drop(stopped.wait_for(|stopped| *stopped).await);
}
