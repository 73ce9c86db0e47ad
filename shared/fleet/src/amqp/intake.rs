//! What one process has received of one kind of work: where consumers bring it and workers fetch it.
//!
//! Everything that decides who gets what is in `lanes`, behind one mutex that is never held over an await. What may interleave is
//! therefore whole decisions: a message arrives, is handed out, is given back, or loses its source.
//!
//! A message whose channel is gone can't be settled, and comes again by itself. So whatever is held of it is simply dropped.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::delivery::AmqpDelivery;
use super::fate::Fates;
use super::lanes::{Arrival, Lanes, Next, Rules, Source, Ticket};
use super::measure;
use super::message::{Incoming, Outgoing, now_millis};
use super::moves::{Move, Mover, Moves};
use super::publisher::Publisher;
use crate::{Content, Retried, Work};

/// What was received of one kind of work.
pub(super) struct Intake {
    pub(super) work: Work,
    pub(super) fates: Fates,
    pub(super) publisher: Publisher,
    lanes: Mutex<Lanes<Arc<Incoming>>>,
    moves: Moves,
    /// Messages that are due so soon that they wait here.
    soon: AtomicUsize,
    sources: AtomicUsize,
    /// Something that somebody may wait for has happened.
    changed: watch::Sender<()>,
}

/// One consumer on one channel, as the intake knows it.
#[derive(Debug)]
pub(super) struct Feed {
    source: Source,
    open: std::sync::atomic::AtomicBool,
}

/// How full it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) waiting: usize,
    pub(super) in_hand: usize,
    pub(super) delayed: usize,
    /// When the oldest was published, in milliseconds since 1970.
    pub(super) oldest: Option<i64>,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("work", &self.work)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

impl Intake {
    /// An empty one, and the task that moves messages for it, which is yet to run.
    pub(super) fn new(work: Work, fates: Fates, publisher: Publisher) -> (Arc<Self>, Mover) {
        let (moves, mover) = Moves::new(publisher.clone());
        let rules = Rules {
            work,
            visibility: fates.options.visibility,
            hold: fates.options.hold,
            linger: fates.options.linger,
        };
        let intake = Self {
            work,
            fates,
            publisher,
            lanes: Mutex::new(Lanes::new(rules)),
            moves,
            soon: AtomicUsize::new(0),
            sources: AtomicUsize::new(0),
            changed: watch::Sender::new(()),
        };
        (Arc::new(intake), mover)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes<Arc<Incoming>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns of everything that a receiver, or one who waits for the last settlement, may want to know.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_replace(());
    }

    /// A new consumer.
    pub(super) fn feed(&self) -> Arc<Feed> {
        let number = self.sources.fetch_add(1, Ordering::Relaxed);
        Arc::new(Feed {
            source: Source(number as u64),
            open: true.into(),
        })
    }

    /// A message has come.
    pub(super) fn arrived(self: &Arc<Self>, feed: &Arc<Feed>, incoming: Incoming) {
        let incoming = Arc::new(incoming);
        let Some(left) = incoming.left() else {
            return self.sort(feed, incoming);
        };
        if let Some(hop) = self.fates.hop(&incoming, left) {
            return self.go(incoming, vec![hop], true);
        }
        self.soon.fetch_add(1, Ordering::Relaxed);
        let (intake, feed) = (Arc::clone(self), Arc::clone(feed));
        tokio::spawn(async move {
            tokio::time::sleep(left).await;
            intake.sort(&feed, incoming);
            intake.soon.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// A message is due: it waits in its lane, or goes where what can't be read goes.
    fn sort(&self, feed: &Feed, incoming: Arc<Incoming>) {
        let envelope = match &incoming.content {
            Content::Envelope(envelope) => envelope,
            Content::Newer { reason, .. } => {
                tracing::warn!(
                    queue.name = self.work.name(),
                    "a message waits for a newer reader: {reason}"
                );
                let (retried, publish) = self.fates.failed(&incoming, reason);
                if retried == Retried::Parked {
                    crate::measure::parked(self.work, "last_attempt");
                } else {
                    crate::measure::retried(self.work, "reject");
                }
                return self.go(incoming, publish, true);
            }
            Content::Malformed { reason, .. } => {
                tracing::error!(queue.name = self.work.name(), "parked: {reason}");
                crate::measure::parked(self.work, "reject");
                let publish = self.fates.parked(&incoming, reason);
                return self.go(incoming, publish, false);
            }
        };
        let arrival = Arrival {
            source: feed.source,
            repo: envelope.repo.id,
            id: envelope.id.clone(),
            counted: incoming.is_suspect(),
            token: Arc::clone(&incoming),
        };
        let stood_for = {
            let mut lanes = self.lanes();
            // Looked at under the lock: who closes a feed takes it out of the lanes after that.
            if !feed.open.load(Ordering::Relaxed) {
                return;
            }
            lanes.arrive(Instant::now(), arrival)
        };
        match stood_for {
            None => self.tell(),
            Some(incoming) => {
                measure::coalesced(self.work);
                self.go(incoming, Vec::new(), false);
            }
        }
    }

    /// Hands out what is next, `most` messages at most; else says when to ask again if nothing happens until then.
    pub(super) fn take(self: &Arc<Self>, most: usize) -> Result<Vec<AmqpDelivery>, Option<Instant>> {
        let mut lanes = self.lanes();
        loop {
            let batch = match lanes.take(Instant::now(), most) {
                Next::Batch(batch) => batch,
                Next::Nothing { until } => return Err(until),
            };
            let mut deliveries = Vec::with_capacity(batch.len());
            for (ticket, incoming) in batch {
                // One whose channel has just died comes again: nobody should begin with it.
                match incoming.content.envelope().filter(|_| incoming.acker.usable()) {
                    Some(envelope) => {
                        if incoming.attempt() == 0 {
                            let waited = now_millis().saturating_sub(incoming.published);
                            let waited = Duration::from_millis(u64::try_from(waited).unwrap_or(0));
                            measure::handed_out(self.work, waited);
                        }
                        let envelope = Box::new(envelope.clone());
                        deliveries.push(AmqpDelivery::new(Arc::clone(self), ticket, incoming, envelope));
                    }
                    None => {
                        lanes.finish(ticket);
                    }
                }
            }
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    /// Begins to settle a message. `false` if it is not its worker's any more.
    pub(super) fn claim(&self, ticket: Ticket, incoming: &Incoming) -> bool {
        incoming.acker.usable() && self.lanes().claim(ticket)
    }

    /// A message is out of its worker's hands.
    pub(super) fn finish(&self, ticket: Ticket) -> bool {
        let ours = self.lanes().finish(ticket);
        self.tell();
        ours
    }

    /// A message is out of its worker's hands, but what was decided for it is yet to be published.
    pub(super) fn move_on(&self, ticket: Ticket, incoming: &Arc<Incoming>, publish: Vec<Outgoing>) {
        self.go(Arc::clone(incoming), publish, false);
        self.finish(ticket);
    }

    /// Its worker shows that it is alive. `false` if the message is not its any more.
    pub(super) fn keep(&self, ticket: Ticket, incoming: &Incoming) -> bool {
        incoming.acker.usable() && self.lanes().keep(Instant::now(), ticket)
    }

    /// Its worker let go of it without a word.
    pub(super) fn dropped(&self, ticket: Ticket, incoming: &Arc<Incoming>, panicked: bool) {
        if !self.finish(ticket) || !incoming.acker.usable() {
            return;
        }
        let (reason, why) = if panicked {
            ("its worker panicked", "panic")
        } else {
            ("its worker let go of it without a word", "dropped")
        };
        measure::lost(self.work, why);
        let publish = self.fates.lost(incoming, reason, panicked);
        self.go(Arc::clone(incoming), publish, panicked);
    }

    /// Takes away what is overdue, puts back what was held for too long, and returns when to do so again at the latest.
    pub(super) fn tidy(&self) -> Instant {
        let now = Instant::now();
        let (lost, held, deadline) = {
            let mut lanes = self.lanes();
            (lanes.overdue(now), lanes.held_too_long(now), lanes.deadline())
        };
        if !lost.is_empty() || !held.is_empty() {
            tracing::warn!(
                queue.name = self.work.name(),
                lost = lost.len(),
                put_back = held.len(),
                "messages that nobody took care of in time go back to the queue"
            );
            self.tell();
        }
        for incoming in lost {
            measure::lost(self.work, "timeout");
            let publish = self
                .fates
                .lost(&incoming, "nothing was heard of its worker in time", false);
            self.go(incoming, publish, false);
        }
        measure::put_back(self.work, held.len());
        for incoming in held {
            let publish = vec![self.fates.put_back(&incoming)];
            self.go(incoming, publish, false);
        }
        // No deadline that is set from now on is earlier than that.
        let options = &self.fates.options;
        let next = now + options.visibility.min(options.hold).max(Duration::from_millis(1));
        deadline.map_or(next, |deadline| deadline.min(next))
    }

    /// Takes nothing more from a consumer. Returns what waited of it.
    pub(super) fn withdraw(&self, feed: &Feed) -> Vec<Arc<Incoming>> {
        feed.open.store(false, Ordering::Relaxed);
        self.lanes().withdraw(feed.source)
    }

    /// A consumer's channel is gone, and with it the right to settle what it brought.
    pub(super) fn forget(&self, feed: &Feed) {
        feed.open.store(false, Ordering::Relaxed);
        self.lanes().forget(feed.source);
        self.tell();
    }

    /// How many messages of a consumer are in hand.
    pub(super) fn in_hand_of(&self, feed: &Feed) -> usize {
        self.lanes().in_hand_of(feed.source)
    }

    pub(super) fn held(&self) -> Held {
        let lanes = self.lanes();
        Held {
            waiting: lanes.waiting(),
            in_hand: lanes.in_hand(),
            delayed: self.soon.load(Ordering::Relaxed) + self.moves.pending().waiting,
            oldest: lanes.tokens().map(|incoming| incoming.published).min(),
        }
    }

    /// Waits until everything that goes elsewhere has gone.
    pub(super) async fn moved(&self) {
        self.moves.settled().await;
    }

    fn go(&self, incoming: Arc<Incoming>, publish: Vec<Outgoing>, waits: bool) {
        self.moves.push(Move {
            incoming,
            publish,
            waits,
        });
    }
}
