//! Messages that go elsewhere without a worker: put back, given up on, put aside, parked.
//!
//! One task publishes what is to be published for them, many at a time and each by itself, waits for the confirms, and acknowledges them. Of
//! several that are published for one, each waits for the one before, so that what fails is not repeated with what did not.
//! What can't be published is tried again for as long as the message is ours; after that the broker hands it out by itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use super::intake::Moving;
use super::message::{Incoming, Outgoing};
use super::publisher::{Publisher, Unconfirmed};
use crate::Schedule;

/// How many messages are moved together, at most.
const TOGETHER: usize = 256;

/// How long to wait before what failed is tried again.
const PAUSE: Schedule = Schedule {
    initial: Duration::from_secs(1),
    factor: 2.0,
    max: Duration::from_secs(30),
    jitter: 0.3,
};

/// A message on its way elsewhere.
pub(super) struct Move {
    pub(super) incoming: Arc<Incoming>,
    /// What is published for it; nothing if it is only to be acknowledged.
    pub(super) publish: Vec<Outgoing>,
    /// Whether it is put aside for a while.
    pub(super) waits: bool,
    /// Whether what is published takes its place, and it goes on being worked on.
    pub(super) copied: bool,
    /// Called in the end, with whether that was done.
    pub(super) then: Option<Then>,
    /// Goes when it has gone.
    pub(super) moving: Moving,
}

/// What is done when a message has gone.
pub(super) type Then = Box<dyn FnOnce(bool) + Send>;

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Move")
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}

/// What is not moved yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    pub(super) all: usize,
    /// Those that are put aside for a while.
    pub(super) waiting: usize,
}

/// The sender to the task.
#[derive(Debug)]
pub(super) struct Moves {
    queue: mpsc::UnboundedSender<Move>,
    pending: Arc<watch::Sender<Pending>>,
}

impl Moves {
    /// The sender, and the task that is yet to run.
    pub(super) fn new(publisher: Publisher) -> (Self, Mover) {
        let (queue, moves) = mpsc::unbounded_channel();
        let pending = Arc::new(watch::Sender::new(Pending::default()));
        let mover = Mover {
            moves,
            pending: Arc::clone(&pending),
            publisher,
        };
        (Self { queue, pending }, mover)
    }

    pub(super) fn push(&self, moved: Move) {
        let waiting = usize::from(moved.waits);
        self.pending.send_modify(|pending| {
            pending.all += 1;
            pending.waiting += waiting;
        });
        if self.queue.send(moved).is_err() {
            // The fleet is stopped, and the broker takes back what is not acknowledged.
            done(&self.pending, waiting);
        }
    }

    pub(super) fn pending(&self) -> Pending {
        *self.pending.borrow()
    }

    /// Waits until everything is moved.
    pub(super) async fn settled(&self) {
        let mut pending = self.pending.subscribe();
        // An error is impossible: `self` holds the sender.
        drop(pending.wait_for(|pending| pending.all == 0).await);
    }
}

fn done(pending: &watch::Sender<Pending>, waiting: usize) {
    pending.send_modify(|pending| {
        pending.all = pending.all.saturating_sub(1);
        pending.waiting = pending.waiting.saturating_sub(waiting);
    });
}

/// The task.
#[derive(Debug)]
pub(super) struct Mover {
    moves: mpsc::UnboundedReceiver<Move>,
    pending: Arc<watch::Sender<Pending>>,
    publisher: Publisher,
}

impl Mover {
    /// Moves until the sender is gone.
    pub(super) async fn run(mut self) {
        let mut going = FuturesUnordered::new();
        loop {
            tokio::select! {
                moved = self.moves.recv(), if going.len() < TOGETHER => match moved {
                    Some(moved) => going.push(self.go(moved)),
                    None => break,
                },
                Some(()) = going.next() => {}
            }
        }
        while let Some(()) = going.next().await {}
    }

    /// Moves one message, by itself, so that one that the broker refuses holds up none of the others.
    fn go(&self, moved: Move) -> impl Future<Output = ()> + Send + use<> {
        let pending = Arc::clone(&self.pending);
        let publisher = self.publisher.clone();
        async move {
            let Move {
                incoming,
                publish,
                waits,
                copied,
                then,
                moving,
            } = moved;
            let published = publish_all(&publisher, &incoming, publish).await;
            done(&pending, usize::from(waits));
            // Otherwise it is not ours any more, and comes again by itself.
            let acknowledged = match (published, copied) {
                (false, _) => Ok(false),
                (true, false) => incoming.acknowledge().await,
                (true, true) => incoming.give_way().await,
            };
            if published && !matches!(acknowledged, Ok(true)) {
                tracing::debug!("a message went elsewhere, and will also come again: its channel is gone");
            }
            if let Some(then) = then {
                then(published);
            }
            drop(moving);
        }
    }
}

/// Publishes messages one after another, for as long as the one that they are for is ours.
async fn publish_all(publisher: &Publisher, incoming: &Incoming, publish: Vec<Outgoing>) -> bool {
    let mut failures = 0_u32;
    for message in publish {
        loop {
            if !incoming.is_ours() {
                return false;
            }
            let error = match publisher.publish(vec![message.clone()]).await {
                Ok(()) => break,
                Err(Unconfirmed::Closed) => return false,
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            let wait = PAUSE.delay(failures);
            tracing::warn!(
                wait_ms = wait.as_millis(),
                "a message can't be moved yet; trying again: {error}"
            );
            tokio::time::sleep(wait).await;
        }
    }
    incoming.is_ours()
}
