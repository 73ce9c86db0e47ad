//! Messages that go elsewhere without a worker: put back, given up on, put aside, parked.
//!
//! One task publishes what is to be published for them, many at a time and each by itself, waits for the confirms, and acknowledges them.
//! What can't be published is tried again for as long as the message is ours; after that the broker hands it out by itself.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use super::acknowledge::acknowledge;
use super::message::{Incoming, Outgoing};
use super::publisher::Publisher;

/// How many messages are moved together, at most.
const TOGETHER: usize = 256;

/// How long to wait before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// A message on its way elsewhere.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) incoming: Arc<Incoming>,
    /// What is published for it; nothing if it is only to be acknowledged.
    pub(super) publish: Vec<Outgoing>,
    /// Whether it is put aside for a while.
    pub(super) waits: bool,
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
        let mover = Going {
            pending: Arc::clone(&self.pending),
            publisher: self.publisher.clone(),
        };
        async move {
            while moved.incoming.acker.usable() {
                match mover.publisher.publish(moved.publish.clone()).await {
                    Ok(()) => return mover.acknowledge(moved).await,
                    Err(error) => {
                        tracing::warn!("a message can't be moved yet; trying again in {PAUSE:?}: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            // It is not ours any more, and comes again by itself.
            done(&mover.pending, usize::from(moved.waits));
        }
    }
}

/// What a message needs on its way.
struct Going {
    pending: Arc<watch::Sender<Pending>>,
    publisher: Publisher,
}

impl Going {
    async fn acknowledge(&self, moved: Move) {
        done(&self.pending, usize::from(moved.waits));
        if let Ok(true) = acknowledge(&moved.incoming.acker).await {
            return;
        }
        tracing::debug!("a message went elsewhere, and will also come again: its channel is gone");
    }
}
