//! The task that publishes: it owns the channels, and each message until it is settled.
//!
//! Several hundred messages are on their way at a time, without waiting for one another; a message is one future, polled here.
//!
//! A returned message is known by a header of ours, never by the confirm that the client hands it out with: that may be another
//! message's. The broker sends a return before the confirm of the same message, and the client hands out one return with each
//! confirm, the oldest first. So:
//! - A confirm that brings no return: its message's own return, if there was one, was handed out before, with a confirm that was ready before.
//!   A fence, which stands in line behind everything that is ready, makes sure that this one was looked at first.
//! - A confirm that brings another message's return: its message's own may still come. That message is published once more.
//!
//! What goes to the journal's stream has a channel of its own, on which everything goes there. When the leader of a stream changes, as it
//! does when a broker starts, RabbitMQ before 4.0 sends what it had not confirmed to the new leader under the channel's numbers instead of the stream's
//! (<https://github.com/rabbitmq/rabbitmq-server/pull/12236>). Where the two differ it then confirms messages that the stream does not have
//! (seen with 3.10.8: one message in about five restarts under load). Where everything goes to the stream they are the same.
//!
//! A message that the broker can't take at all (its exchange is not there) costs its channel, and says so of the channel alone. `suspects` finds
//! out which it was, so that it fails by itself. And a message that came as far as the journal was confirmed although the way to the work
//! queues is gone; `vouch` does not believe that.
//!
//! What may interleave: a connection can be lost at any await; then everything unsettled is published again on the next one, also what
//! was confirmed but had not come past its fence. That doubles some messages, and loses none.
//!
//! Deliberately not: the order of messages of which one had to be published again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::Link;
use super::gauges;
use super::message::{Outgoing, PROBE};
use super::names::Names;
use super::publisher::{Batch, Room, Unconfirmed};

mod channels;
mod lane;
mod silence;
mod suspects;
mod vouch;

use channels::{Answer, Done, Returned, Sent, Why, open, publish, until_open};
use lane::{Lane, Way};
use vouch::Vouch;

/// How many messages are on their way at a time. More gains nothing: the broker is busy with that many.
const WINDOW: usize = 256;

/// How many bytes of bodies are on their way at a time (but always one message).
const WINDOW_BYTES: usize = 16 << 20;

/// How exactly deadlines are kept.
const TICK: Duration = Duration::from_millis(50);

struct Entry {
    batch: u64,
    message: Outgoing,
    on_its_way: Option<Way>,
    /// It may have been the end of a channel: it goes alone.
    suspect: bool,
}

struct Waiting {
    /// Its messages are the `count` ones from here.
    first: u64,
    count: u64,
    left: u64,
    since: Instant,
    reply: oneshot::Sender<Result<(), Unconfirmed>>,
    _room: Room,
}

/// The state of the task.
pub(super) struct Outbox {
    link: Link,
    names: Names,
    confirm_timeout: Duration,
    deadline: Duration,
    /// Everything unsettled, by the number of its publish: in the order in which it came.
    entries: BTreeMap<u64, Entry>,
    batches: HashMap<u64, Waiting>,
    next_entry: u64,
    next_batch: u64,
    journaled: Lane,
    other: Lane,
    /// Those that go alone.
    alone: VecDeque<u64>,
    /// How many of them are on their way.
    alone_on_their_way: usize,
    /// How often one that went alone could not be tried, since the last confirm.
    alone_failures: u32,
    /// No sooner is another one tried.
    alone_from: Instant,
    /// The exchanges that the broker closed a channel for. What goes there goes alone until one of it is taken.
    doubtful: HashSet<String>,
    flight: FuturesUnordered<BoxFuture<'static, Done>>,
    on_their_way: usize,
    bytes_on_their_way: usize,
    /// What the gauge says.
    told: usize,
    /// Confirmed, and to come behind the next fence.
    confirmed: Vec<u64>,
    /// Confirmed, and in front of the fence that is on its way.
    fenced: Option<Vec<u64>>,
    vouch: Vouch,
    /// When the broker last answered one that went alone, or had none of them to answer.
    alone_progress: Instant,
    /// Since when the journal has confirmed nothing of what waits for it, across connections.
    unjournaled: Option<Instant>,
    /// Whether that is too long.
    journal_is_late: watch::Sender<bool>,
    trouble: Option<Arc<str>>,
}

impl Outbox {
    pub(super) fn new(link: Link, names: Names, confirm_timeout: Duration, deadline: Duration) -> Self {
        Self {
            link,
            vouch: Vouch::new(&names),
            names,
            confirm_timeout,
            deadline,
            entries: BTreeMap::new(),
            batches: HashMap::new(),
            next_entry: 1,
            next_batch: 1,
            journaled: Lane::new(),
            other: Lane::new(),
            alone: VecDeque::new(),
            alone_on_their_way: 0,
            alone_failures: 0,
            alone_from: Instant::now(),
            doubtful: HashSet::new(),
            flight: FuturesUnordered::new(),
            on_their_way: 0,
            bytes_on_their_way: 0,
            told: 0,
            confirmed: Vec::new(),
            fenced: None,
            alone_progress: Instant::now(),
            unjournaled: None,
            journal_is_late: watch::Sender::new(false),
            trouble: None,
        }
    }

    /// Whether the journal has taken nothing of what waits for it, for longer than a confirm may take.
    pub(super) fn journal_is_late(&self) -> watch::Receiver<bool> {
        self.journal_is_late.subscribe()
    }

    /// Publishes what comes, until it is stopped and nothing is left or its time is up.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Batch>,
        mut stopping: watch::Receiver<Option<Instant>>,
    ) {
        let mut connection = self.link.connection();
        connection.mark_changed();
        let mut health = self.link.health();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut arrived = Vec::new();
        let mut stop_at = None;
        loop {
            self.send();
            if stop_at.is_some() && self.entries.is_empty() && inbox.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                _ = tick.tick() => {
                    self.expire();
                    self.bury();
                    self.watch_progress();
                    self.watch_journal();
                    if stop_at.is_some_and(|at| at <= Instant::now()) {
                        break;
                    }
                }
                changed = connection.changed() => {
                    connection.borrow_and_update();
                    self.begin_again("the connection was lost");
                    self.open_all();
                    if changed.is_err() {
                        break;
                    }
                }
                _ = health.changed() => {
                    health.mark_unchanged();
                    // Time in which the broker takes nothing does not count.
                    self.forgive();
                }
                changed = stopping.changed(), if stop_at.is_none() => {
                    stop_at = if changed.is_ok() { *stopping.borrow_and_update() } else { Some(Instant::now()) };
                }
                opened = until_open(&mut self.journaled.opening) => self.opened(Way::Journaled, opened),
                opened = until_open(&mut self.other.opening) => self.opened(Way::Other, opened),
                opened = until_open(&mut self.vouch.lane.opening) => self.opened_to_vouch(opened),
                Some(done) = self.flight.next(), if !self.flight.is_empty() => {
                    self.settle(done);
                    while let Some(Some(done)) = self.flight.next().now_or_never() {
                        self.settle(done);
                    }
                    self.raise_fence();
                    self.bury();
                }
                many = inbox.recv_many(&mut arrived, WINDOW), if stop_at.is_none() || !inbox.is_empty() => {
                    if many == 0 {
                        stop_at = stop_at.or_else(|| Some(Instant::now()));
                    }
                    for batch in arrived.drain(..) {
                        self.accept(batch);
                    }
                }
            }
        }
        for (_, batch) in self.batches.drain() {
            reply(batch, Err(Unconfirmed::Closed));
        }
    }

    fn accept(&mut self, batch: Batch) {
        let Batch {
            messages,
            since,
            reply,
            room,
        } = batch;
        let name = self.next_batch;
        self.next_batch += 1;
        let first = self.next_entry;
        let count = messages.len() as u64;
        for message in messages {
            let number = self.next_entry;
            self.next_entry += 1;
            self.entries.insert(
                number,
                Entry {
                    batch: name,
                    message,
                    on_its_way: None,
                    suspect: false,
                },
            );
            self.line_up(number, false);
        }
        self.batches.insert(
            name,
            Waiting {
                first,
                count,
                left: count,
                since,
                reply,
                _room: room,
            },
        );
    }

    /// Lets a message wait for its turn, at the end of its line or in front of all.
    fn line_up(&mut self, number: u64, in_front: bool) {
        let Some(entry) = self.entries.get(&number) else {
            return;
        };
        let line = match (entry.suspect, entry.message.journaled) {
            (true, _) => &mut self.alone,
            (false, true) => &mut self.journaled.to_send,
            (false, false) => &mut self.other.to_send,
        };
        if in_front {
            line.push_front(number);
        } else {
            line.push_back(number);
        }
    }

    const fn lane(&mut self, way: Way) -> Option<&mut Lane> {
        match way {
            Way::Journaled => Some(&mut self.journaled),
            Way::Other => Some(&mut self.other),
            Way::Alone => None,
        }
    }

    /// Sends what the window has room for.
    fn send(&mut self) {
        if self.link.is_blocked() {
            return;
        }
        self.send_alone();
        for way in [Way::Other, Way::Journaled] {
            self.send_on(way);
        }
        self.raise_probe();
    }

    fn send_on(&mut self, way: Way) {
        while self.on_their_way < WINDOW {
            let Some(lane) = self.lane(way) else { return };
            let generation = lane.generation;
            let Some(channel) = lane.channel.clone() else {
                return;
            };
            let Some(number) = lane.to_send.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get_mut(&number) else {
                continue;
            };
            if self.doubtful.contains(entry.message.exchange.as_str()) {
                entry.suspect = true;
                self.alone.push_back(number);
                continue;
            }
            let bytes = entry.message.body.len();
            if self.on_their_way > 0 && self.bytes_on_their_way.saturating_add(bytes) > WINDOW_BYTES {
                self.line_up(number, true);
                return;
            }
            if self.is_for_nobody(number) {
                continue;
            }
            if let Some(message) = self.leaves(number, way) {
                let sent = Sent {
                    number,
                    way,
                    generation,
                };
                self.flight.push(publish(channel, sent, message).boxed());
            }
        }
    }

    /// Forgets a message for which nobody waits any more, and of which nothing was sent: it need not be.
    fn is_for_nobody(&mut self, number: u64) -> bool {
        let Some(batch) = self.entries.get(&number).map(|entry| entry.batch) else {
            return true;
        };
        let waits = self
            .batches
            .get(&batch)
            .is_some_and(|batch| !batch.reply.is_closed());
        if !waits {
            self.end(batch, Err(Unconfirmed::Closed));
        }
        !waits
    }

    /// A message goes on its way.
    fn leaves(&mut self, number: u64, way: Way) -> Option<Outgoing> {
        let entry = self.entries.get_mut(&number)?;
        entry.on_its_way = Some(way);
        let message = entry.message.clone();
        self.on_their_way += 1;
        self.bytes_on_their_way += message.body.len();
        match self.lane(way) {
            Some(lane) => {
                if lane.on_their_way == 0 {
                    lane.progress = Instant::now();
                }
                lane.on_their_way += 1;
            }
            None => {
                if self.alone_on_their_way == 0 {
                    self.alone_progress = Instant::now();
                }
                self.alone_on_their_way += 1;
            }
        }
        Some(message)
    }

    /// A message is not on its way any more.
    fn landed(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let Some(way) = entry.on_its_way.take() else {
            return;
        };
        self.on_their_way -= 1;
        self.bytes_on_their_way -= entry.message.body.len();
        match self.lane(way) {
            Some(lane) => lane.on_their_way -= 1,
            None => self.alone_on_their_way -= 1,
        }
    }

    /// What an answer means.
    fn settle(&mut self, done: Done) {
        let (sent, answer) = match done {
            Done::Answered(sent, answer) => (sent, answer),
            Done::Probed(generation, answer) => return self.probed(generation, answer),
            Done::Fence => {
                for number in self.fenced.take().unwrap_or_default() {
                    if self.needs_a_word(number) {
                        self.vouch.waiting.push(number);
                    } else {
                        self.confirm(number);
                    }
                }
                return;
            }
        };
        let Sent {
            number,
            way,
            generation,
        } = sent;
        if self.lane(way).is_some_and(|lane| lane.generation != generation) {
            return;
        }
        match self.lane(way) {
            Some(lane) => lane.progress = Instant::now(),
            None => self.alone_progress = Instant::now(),
        }
        self.landed(number);
        if !matches!(answer, Answer::Failed(_)) {
            self.answered(number, way);
        }
        match answer {
            Answer::Ack(None) => self.confirmed.push(number),
            Answer::Ack(Some(returned)) => {
                if self.returned(&returned) != Some(number) {
                    self.line_up(number, true);
                }
            }
            Answer::Nack(returned) => {
                if let Some(returned) = returned {
                    self.returned(&returned);
                }
                self.fail(number, |message| Unconfirmed::Refused {
                    key: message.routing_key.to_string(),
                });
            }
            Answer::Failed(why) => match self.lane(way) {
                Some(lane) => lane.suspect(number, why),
                None => self.tried(number, why),
            },
        }
    }

    /// The broker has answered a message: its channel works.
    fn answered(&mut self, number: u64, way: Way) {
        if let Some(lane) = self.lane(way) {
            lane.failures = 0;
            if way == Way::Journaled {
                self.unjournaled = None;
            }
            return;
        }
        self.alone_failures = 0;
        if let Some(entry) = self.entries.get(&number) {
            self.doubtful.remove(entry.message.exchange.as_str());
        }
    }

    /// Tells the publisher of a message that the broker returned it, and says which it was.
    fn returned(&mut self, returned: &Returned) -> Option<u64> {
        let number = returned.number?;
        self.fail(number, |message| Unconfirmed::Returned {
            exchange: message.exchange.to_string(),
            key: message.routing_key.to_string(),
            why: returned.why.clone(),
        });
        Some(number)
    }

    fn raise_fence(&mut self) {
        if self.fenced.is_none() && !self.confirmed.is_empty() {
            self.fenced = Some(std::mem::take(&mut self.confirmed));
            self.flight.push(futures::future::ready(Done::Fence).boxed());
        }
    }

    fn confirm(&mut self, number: u64) {
        let Some(entry) = self.entries.remove(&number) else {
            return;
        };
        let Some(batch) = self.batches.get_mut(&entry.batch) else {
            return;
        };
        batch.left -= 1;
        if batch.left == 0
            && let Some(batch) = self.batches.remove(&entry.batch)
        {
            reply(batch, Ok(()));
        }
    }

    fn fail(&mut self, number: u64, why: impl FnOnce(&Outgoing) -> Unconfirmed) {
        if let Some(entry) = self.entries.get(&number) {
            let (batch, why) = (entry.batch, why(&entry.message));
            if entry.message.routing_key.as_str() != PROBE {
                gauges::returned();
            }
            self.end(batch, Err(why));
        }
    }

    /// Forgets a batch, and tells its publisher how it ended.
    fn end(&mut self, batch: u64, result: Result<(), Unconfirmed>) {
        let Some(batch) = self.batches.remove(&batch) else {
            return;
        };
        for number in batch.first..batch.first + batch.count {
            self.landed(number);
            self.entries.remove(&number);
        }
        reply(batch, result);
    }

    /// Forgets the channels: everything unsettled has to be sent again.
    fn begin_again(&mut self, why: &str) {
        if self.journaled.channel.is_some() || self.other.channel.is_some() {
            self.trouble = Some(why.into());
        }
        for lane in [&mut self.journaled, &mut self.other, &mut self.vouch.lane] {
            lane.forget();
            lane.to_send.clear();
        }
        self.flight.clear();
        self.on_their_way = 0;
        self.bytes_on_their_way = 0;
        self.alone_on_their_way = 0;
        self.alone_from = Instant::now();
        self.confirmed.clear();
        self.fenced = None;
        self.vouch.forget();
        self.alone.clear();
        for entry in self.entries.values_mut() {
            entry.on_its_way = None;
            // Whoever ends a channel is found out on this connection as well.
            entry.suspect = false;
        }
        let numbers: Vec<u64> = self.entries.keys().copied().collect();
        for number in numbers {
            self.line_up(number, false);
        }
    }

    /// Opens every channel on the connection of the moment, if there is one.
    fn open_all(&mut self) {
        for way in [Way::Journaled, Way::Other] {
            self.open(way, Duration::ZERO);
        }
        self.open_to_vouch(Duration::ZERO);
    }

    fn open(&mut self, way: Way, wait: Duration) {
        let connection = self.link.connection().borrow().clone();
        let journal = self.names.journal();
        if let Some(lane) = self.lane(way) {
            lane.opening = connection.map(|connection| open(connection, journal, wait).boxed());
        }
    }

    fn opened(&mut self, way: Way, opened: Result<lapin::Channel, Why>) {
        let Some(lane) = self.lane(way) else { return };
        lane.progress = Instant::now();
        lane.opening = None;
        match opened {
            Ok(channel) => lane.channel = Some(channel),
            Err(why) => {
                let wait = lane.failed();
                self.failing(&why, wait);
                self.open(way, wait);
            }
        }
    }

    fn failing(&mut self, why: &Why, wait: Duration) {
        tracing::warn!(wait_ms = wait.as_millis(), "a channel to RabbitMQ failed: {why}");
        self.trouble = Some(why.to_string().into());
    }
}

fn reply(batch: Waiting, result: Result<(), Unconfirmed>) {
    // Whoever is gone need not know.
    drop(batch.reply.send(result));
}

#[cfg(test)]
mod tests;
