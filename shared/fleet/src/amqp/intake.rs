//! What one process has received of one kind of work: where consumers bring it and workers fetch it.
//!
//! Everything that decides who gets what is in `lanes`, behind one mutex that is never held over an await. What may interleave is
//! therefore whole decisions: a message arrives, is handed out, is given back, or loses its source.
//!
//! A message whose channel is gone can't be settled, and comes again by itself. So whatever is held of it is simply dropped.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockflight_promotion::RepoId;
use tokio::sync::watch;

use super::acknowledge::give_back;
use super::delivery::AmqpDelivery;
use super::fate::Fates;
use super::lanes::{Arrival, Lanes, Next, Rules, Source, Ticket};
use super::measure;
use super::message::{Incoming, Outgoing, now_millis};
use super::moves::{Move, Mover, Moves};
use super::publisher::Publisher;
use super::trials::{Arrived, Trials};
use crate::{Content, Retried, Work};

/// What was received of one kind of work.
pub(super) struct Intake {
    pub(super) work: Work,
    pub(super) fates: Fates,
    pub(super) publisher: Publisher,
    desk: Mutex<Desk>,
    moves: Moves,
    /// Messages that are due so soon that they wait here.
    soon: AtomicUsize,
    sources: AtomicUsize,
    /// Something that somebody may wait for has happened.
    changed: watch::Sender<()>,
}

/// Everything that decides who gets what.
#[derive(Debug)]
struct Desk {
    lanes: Lanes<Arc<Incoming>>,
    trials: Trials,
    /// What was written down, and is handed out next.
    written: VecDeque<(Ticket, Arc<Incoming>)>,
}

/// One consumer on one channel, as the intake knows it.
#[derive(Debug)]
pub(super) struct Feed {
    source: Source,
    open: AtomicBool,
    /// How many of its messages are on their way elsewhere.
    moving: AtomicUsize,
    changed: watch::Sender<()>,
}

impl Feed {
    /// Whether messages of it are on their way elsewhere.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.load(Ordering::SeqCst) > 0
    }
}

/// A message that is on its way elsewhere, and whose consumer waits for it.
#[derive(Debug)]
pub(super) struct Moving(Option<Arc<Feed>>);

impl Moving {
    fn of(incoming: &Incoming) -> Self {
        let feed = incoming.feed.clone();
        if let Some(feed) = &feed {
            feed.moving.fetch_add(1, Ordering::SeqCst);
        }
        Self(feed)
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        if let Some(feed) = &self.0 {
            feed.moving.fetch_sub(1, Ordering::SeqCst);
            feed.changed.send_replace(());
        }
    }
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
            desk: Mutex::new(Desk {
                lanes: Lanes::new(rules),
                trials: Trials::default(),
                written: VecDeque::new(),
            }),
            moves,
            soon: AtomicUsize::new(0),
            sources: AtomicUsize::new(0),
            changed: watch::Sender::new(()),
        };
        (Arc::new(intake), mover)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
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
            moving: AtomicUsize::new(0),
            changed: self.changed.clone(),
        })
    }

    /// A message has come, within a window of that consumer.
    pub(super) fn arrived(self: &Arc<Self>, feed: &Arc<Feed>, window: &Arc<()>, mut incoming: Incoming) {
        incoming.feed = Some(Arc::clone(feed));
        incoming.window = Some(Arc::clone(window));
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

    /// A message has come to a consumer that takes nothing more into hand. It goes back with the channel, unless it is the copy of one that is
    /// in hand or done: that would be worked on once more by whoever gets it.
    pub(super) fn arrived_late(self: &Arc<Self>, feed: &Arc<Feed>, mut incoming: Incoming) {
        incoming.feed = Some(Arc::clone(feed));
        let incoming = Arc::new(incoming);
        let arrived = self.desk().trials.arrived(&incoming);
        if arrived == Arrived::Done {
            self.go(incoming, Vec::new(), false);
        }
    }

    /// A message is due: it waits in its lane, or goes where what can't be read goes.
    fn sort(self: &Arc<Self>, feed: &Feed, incoming: Arc<Incoming>) {
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
            let mut desk = self.desk();
            // Looked at under the lock: who closes a feed takes it out of the lanes after that.
            if !feed.open.load(Ordering::Relaxed) {
                return;
            }
            match desk.trials.arrived(&incoming) {
                Arrived::Copy => return,
                Arrived::Done => Some(Arc::clone(&incoming)),
                Arrived::Unknown => {
                    let stood_for = desk.lanes.arrive(Instant::now(), arrival);
                    if stood_for.is_some() {
                        measure::coalesced(self.work);
                    }
                    stood_for
                }
            }
        };
        match stood_for {
            None => self.tell(),
            Some(incoming) => self.go(incoming, Vec::new(), false),
        }
    }

    /// Hands out what is next, `most` messages at most; else says when to ask again if nothing happens until then.
    pub(super) fn take(self: &Arc<Self>, most: usize) -> Result<Vec<AmqpDelivery>, Option<Instant>> {
        let mut guard = self.desk();
        let desk = &mut *guard;
        let now = Instant::now();
        while let Some((ticket, incoming)) = desk.written.pop_front() {
            if desk.lanes.resume(now, ticket)
                && let Some(delivery) = self.hand_out(desk, ticket, &incoming)
            {
                return Ok(vec![delivery]);
            }
        }
        loop {
            let trials = &desk.trials;
            let batch = match desk.lanes.take(now, most, |incoming| trials.may(incoming)) {
                Next::Batch(batch) => batch,
                Next::Nothing { until } => return Err(until),
            };
            let mut deliveries = Vec::with_capacity(batch.len());
            for (ticket, incoming) in batch {
                // One whose channel has just died comes again: nobody should begin with it.
                if !incoming.is_ours() {
                    desk.lanes.finish(ticket);
                } else if desk.trials.is_to_be_written(&incoming) {
                    self.write_down(desk, ticket, &incoming);
                } else {
                    deliveries.extend(self.hand_out(desk, ticket, &incoming));
                }
            }
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    fn hand_out(
        self: &Arc<Self>,
        desk: &mut Desk,
        ticket: Ticket,
        incoming: &Arc<Incoming>,
    ) -> Option<AmqpDelivery> {
        let Some(envelope) = incoming.content.envelope() else {
            desk.lanes.finish(ticket);
            return None;
        };
        desk.trials.handed_out(incoming);
        if incoming.attempt() == 0 {
            let waited = now_millis().saturating_sub(incoming.published);
            let waited = Duration::from_millis(u64::try_from(waited).unwrap_or(0));
            measure::handed_out(self.work, waited);
        }
        let envelope = Box::new(envelope.clone());
        Some(AmqpDelivery::new(
            Arc::clone(self),
            ticket,
            Arc::clone(incoming),
            envelope,
        ))
    }

    /// Lets a copy that counts what may come of it take the place of a message, which is handed out then.
    fn write_down(self: &Arc<Self>, desk: &mut Desk, ticket: Ticket, incoming: &Arc<Incoming>) {
        // Nobody has it, so that nobody can be late with it.
        desk.lanes.claim(ticket);
        desk.trials.begin(incoming);
        let (intake, message) = (Arc::clone(self), Arc::clone(incoming));
        let (publish, copied) = match self.fates.written(incoming) {
            Ok(copy) => (vec![copy], true),
            Err(parked) => {
                tracing::error!(
                    queue.name = self.work.name(),
                    "a message is parked: it was handed out too often, and its process ended each time"
                );
                crate::measure::parked(self.work, "losses");
                (parked, false)
            }
        };
        let then = move |done: bool| {
            if done && copied && intake.is_open(&message) {
                intake.desk().written.push_back((ticket, message));
                intake.tell();
            } else {
                intake.finish(ticket, &message);
            }
        };
        self.moves.push(Move {
            incoming: Arc::clone(incoming),
            publish,
            waits: false,
            copied,
            then: Some(Box::new(then)),
            moving: Moving::of(incoming),
        });
    }

    fn is_open(&self, incoming: &Incoming) -> bool {
        let feed = incoming.feed.as_ref();
        feed.is_some_and(|feed| feed.open.load(Ordering::Relaxed))
    }

    /// Begins to settle a message. `false` if it is not its worker's any more.
    pub(super) fn claim(&self, ticket: Ticket, incoming: &Incoming) -> bool {
        incoming.is_ours() && self.desk().lanes.claim(ticket)
    }

    /// A message is out of its worker's hands, and whatever was to be published for it was.
    pub(super) fn finish(&self, ticket: Ticket, incoming: &Arc<Incoming>) {
        self.desk().lanes.finish(ticket);
        self.end(incoming);
    }

    /// Nothing more becomes of a message here.
    fn end(&self, incoming: &Arc<Incoming>) {
        let copy = self.desk().trials.end(Instant::now(), incoming);
        self.tell();
        if let Some(copy) = copy {
            drop(tokio::spawn(async move { give_back(&copy.acker).await }));
        }
    }

    /// A message is out of its worker's hands, but what was decided for it is yet to be published.
    pub(super) fn move_on(
        self: &Arc<Self>,
        ticket: Ticket,
        incoming: &Arc<Incoming>,
        publish: Vec<Outgoing>,
    ) {
        self.go(Arc::clone(incoming), publish, false);
        self.desk().lanes.finish(ticket);
        self.tell();
    }

    /// Its worker shows that it is alive. `false` if the message is not its any more.
    pub(super) fn keep(&self, ticket: Ticket, incoming: &Incoming) -> bool {
        incoming.is_ours() && self.desk().lanes.keep(Instant::now(), ticket)
    }

    /// Its worker let go of it without a word.
    pub(super) fn dropped(self: &Arc<Self>, ticket: Ticket, incoming: &Arc<Incoming>, panicked: bool) {
        // Its consumer does not see it in neither place.
        let moving = Moving::of(incoming);
        let was_its = self.desk().lanes.finish(ticket);
        if !was_its || !incoming.is_ours() {
            self.end(incoming);
            return;
        }
        self.tell();
        let (reason, why) = if panicked {
            ("its worker panicked", "panic")
        } else {
            ("its worker let go of it without a word", "dropped")
        };
        measure::lost(self.work, why);
        let publish = self.fates.lost(incoming, reason, panicked);
        self.go(Arc::clone(incoming), publish, panicked);
        drop(moving);
    }

    /// Takes away what is overdue, puts back what was held for too long, and returns when to do so again at the latest.
    pub(super) fn tidy(self: &Arc<Self>) -> Instant {
        let now = Instant::now();
        let moving = |incoming: Arc<Incoming>| (Moving::of(&incoming), incoming);
        let (lost, held, deadline) = {
            let mut desk = self.desk();
            desk.trials.tidy(now);
            // Their consumers do not see them in neither place.
            let lost: Vec<_> = desk.lanes.overdue(now).into_iter().map(moving).collect();
            let held: Vec<_> = desk.lanes.held_too_long(now).into_iter().map(moving).collect();
            (lost, held, desk.lanes.deadline())
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
        for (_moving, incoming) in lost {
            measure::lost(self.work, "timeout");
            let publish = self
                .fates
                .lost(&incoming, "nothing was heard of its worker in time", false);
            self.go(incoming, publish, false);
        }
        measure::put_back(self.work, held.len());
        for (_moving, incoming) in held {
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
        self.take_back_written(feed);
        self.desk().lanes.withdraw(feed.source)
    }

    /// A consumer's channel is gone, and with it the right to settle what it brought.
    pub(super) fn forget(&self, feed: &Feed) {
        feed.open.store(false, Ordering::Relaxed);
        self.take_back_written(feed);
        {
            let mut guard = self.desk();
            let Desk { lanes, trials, .. } = &mut *guard;
            trials.excuse(lanes.tokens_of(feed.source));
            lanes.forget(feed.source);
        }
        self.tell();
    }

    /// What was written down and is in nobody's hands is left to its copies.
    fn take_back_written(&self, feed: &Feed) {
        let theirs: Vec<_> = {
            let mut desk = self.desk();
            let is_theirs = |incoming: &Incoming| {
                let feed_of = incoming.feed.as_ref();
                feed_of.is_some_and(|feed_of| feed_of.source == feed.source)
            };
            let (theirs, others): (VecDeque<_>, VecDeque<_>) = desk
                .written
                .drain(..)
                .partition(|(_, incoming)| is_theirs(incoming));
            desk.written = others;
            theirs.into()
        };
        for (ticket, incoming) in theirs {
            self.finish(ticket, &incoming);
        }
    }

    /// How many messages of a consumer are in hand.
    pub(super) fn in_hand_of(&self, feed: &Feed) -> usize {
        self.desk().lanes.in_hand_of(feed.source)
    }

    /// How many messages of a repository wait.
    pub(super) fn waiting_of(&self, repo: RepoId) -> usize {
        self.desk().lanes.waiting_of(repo)
    }

    /// How many bytes they have, as they came.
    pub(super) fn waiting_bytes_of(&self, repo: RepoId) -> usize {
        let desk = self.desk();
        let waiting = desk.lanes.tokens_waiting_of(repo);
        waiting.map(|incoming| incoming.body.len()).sum()
    }

    pub(super) fn held(&self) -> Held {
        let Desk { lanes, .. } = &*self.desk();
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

    fn go(self: &Arc<Self>, incoming: Arc<Incoming>, publish: Vec<Outgoing>, waits: bool) {
        let (intake, message) = (Arc::clone(self), Arc::clone(&incoming));
        self.moves.push(Move {
            moving: Moving::of(&incoming),
            incoming,
            publish,
            waits,
            copied: false,
            then: Some(Box::new(move |_| intake.end(&message))),
        });
    }
}
