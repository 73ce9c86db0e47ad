//! Messages that go elsewhere without a worker: put back, given up on, put aside, parked.
//!
//! One task publishes what is to be published for them, in order and many at a time, waits for the confirms, and acknowledges them. What
//! can't be published is tried again for as long as the message is ours; after that the broker hands it out by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::acknowledge::acknowledge;
use super::message::{Incoming, Outgoing};
use super::publisher::{Publisher, Unconfirmed};

/// How many messages are moved together, at most.
const TOGETHER: usize = 256;

/// How many bytes of bodies are moved together (but always one message).
const TOGETHER_BYTES: usize = 4 << 20;

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
        let mut failed: Vec<Move> = Vec::new();
        loop {
            let first = if failed.is_empty() {
                self.moves.recv().await
            } else {
                tokio::time::sleep(PAUSE).await;
                self.one_by_one(&mut failed).await;
                match self.moves.try_recv() {
                    Ok(first) => Some(first),
                    Err(mpsc::error::TryRecvError::Empty) => continue,
                    Err(mpsc::error::TryRecvError::Disconnected) => None,
                }
            };
            let Some(first) = first else { return };
            let batch = self.gather(first);
            let publish: Vec<Outgoing> = batch.iter().flat_map(|moved| moved.publish.clone()).collect();
            match self.publisher.publish(publish).await {
                Ok(()) => {
                    for moved in batch {
                        self.acknowledge(moved).await;
                    }
                }
                Err(error) => {
                    tell(&error, batch.len());
                    failed.extend(batch);
                }
            }
        }
    }

    /// What waits, as far as it goes together. Leaves out what is no longer ours.
    fn gather(&mut self, first: Move) -> Vec<Move> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(moved) = next {
            if moved.incoming.acker.usable() {
                bytes += moved.incoming.body.len();
                batch.push(moved);
            } else {
                done(&self.pending, usize::from(moved.waits));
            }
            if batch.len() >= TOGETHER || bytes >= TOGETHER_BYTES {
                break;
            }
            next = self.moves.try_recv().ok();
        }
        batch
    }

    /// Tries each by itself, so that one that the broker refuses holds up none of the others.
    async fn one_by_one(&mut self, failed: &mut Vec<Move>) {
        for moved in std::mem::take(failed) {
            if !moved.incoming.acker.usable() {
                done(&self.pending, usize::from(moved.waits));
                continue;
            }
            match self.publisher.publish(moved.publish.clone()).await {
                Ok(()) => self.acknowledge(moved).await,
                Err(error) => {
                    tell(&error, 1);
                    failed.push(moved);
                }
            }
        }
    }

    async fn acknowledge(&self, moved: Move) {
        done(&self.pending, usize::from(moved.waits));
        if let Ok(true) = acknowledge(&moved.incoming.acker).await {
            return;
        }
        tracing::debug!("a message went elsewhere, and will also come again: its channel is gone");
    }
}

fn tell(error: &Unconfirmed, messages: usize) {
    tracing::warn!(
        messages,
        "messages can't be put back yet; trying again in {PAUSE:?}: {error}"
    );
}
