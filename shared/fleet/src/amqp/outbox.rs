//! The task that publishes: it owns the channel, and each message until it is settled.
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
//! What may interleave: a connection can be lost at any await; then everything unsettled is published again on the next one, also what
//! was confirmed but had not come past its fence. That doubles some messages, and loses none.
//!
//! Deliberately not: the order of messages of which one had to be published again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::{Health, Link};
use super::gauges;
use super::message::{Outgoing, PROBE};
use super::publisher::{Batch, Room, Unconfirmed};
use crate::Schedule;

mod channels;

use channels::{Answer, Channels, Done, Opening, Returned, open, publish, until_open};

/// How many messages are on their way at a time. More gains nothing: the broker is busy with that many.
const WINDOW: usize = 256;

/// How many bytes of bodies are on their way at a time (but always one message).
const WINDOW_BYTES: usize = 16 << 20;

/// How exactly deadlines are kept.
const TICK: Duration = Duration::from_millis(50);

/// How long to wait before a channel that failed is opened again on the same connection.
const REOPEN: Schedule = Schedule {
    initial: Duration::from_millis(50),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: 0.3,
};

struct Entry {
    batch: u64,
    message: Outgoing,
    on_its_way: bool,
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
    /// The name of the journal's stream.
    journal: String,
    confirm_timeout: Duration,
    deadline: Duration,
    /// Everything unsettled, by the number of its publish: in the order in which it came.
    entries: BTreeMap<u64, Entry>,
    batches: HashMap<u64, Waiting>,
    to_send: VecDeque<u64>,
    next_entry: u64,
    next_batch: u64,
    channels: Option<Channels>,
    opening: Option<Opening>,
    failures: u32,
    flight: FuturesUnordered<BoxFuture<'static, Done>>,
    on_their_way: usize,
    bytes_on_their_way: usize,
    /// What the gauge says.
    told: usize,
    /// Confirmed, and to come behind the next fence.
    confirmed: Vec<u64>,
    /// Confirmed, and in front of the fence that is on its way.
    fenced: Option<Vec<u64>>,
    /// When the broker last confirmed something, or had nothing to confirm.
    progress: Instant,
    trouble: Option<Arc<str>>,
}

impl Outbox {
    pub(super) fn new(link: Link, journal: String, confirm_timeout: Duration, deadline: Duration) -> Self {
        Self {
            link,
            journal,
            confirm_timeout,
            deadline,
            entries: BTreeMap::new(),
            batches: HashMap::new(),
            to_send: VecDeque::new(),
            next_entry: 1,
            next_batch: 1,
            channels: None,
            opening: None,
            failures: 0,
            flight: FuturesUnordered::new(),
            on_their_way: 0,
            bytes_on_their_way: 0,
            told: 0,
            confirmed: Vec::new(),
            fenced: None,
            progress: Instant::now(),
            trouble: None,
        }
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
                    self.watch_progress();
                    if stop_at.is_some_and(|at| at <= Instant::now()) {
                        break;
                    }
                }
                changed = connection.changed() => {
                    let now = if changed.is_ok() { connection.borrow_and_update().clone() } else { None };
                    self.begin_again("the connection was lost");
                    self.failures = 0;
                    self.opening = now.map(|connection| open(connection, self.journal.clone(), Duration::ZERO).boxed());
                    if changed.is_err() {
                        break;
                    }
                }
                _ = health.changed() => {
                    health.mark_unchanged();
                    // Time in which the broker takes nothing does not count.
                    self.progress = Instant::now();
                }
                changed = stopping.changed(), if stop_at.is_none() => {
                    stop_at = if changed.is_ok() { *stopping.borrow_and_update() } else { Some(Instant::now()) };
                }
                opened = until_open(&mut self.opening) => self.opened(opened),
                Some(done) = self.flight.next(), if !self.flight.is_empty() => {
                    self.settle(done);
                    while let Some(Some(done)) = self.flight.next().now_or_never() {
                        self.settle(done);
                    }
                    self.raise_fence();
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
            self.to_send.push_back(number);
            self.entries.insert(
                number,
                Entry {
                    batch: name,
                    message,
                    on_its_way: false,
                },
            );
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

    /// Sends what the window has room for.
    fn send(&mut self) {
        let Some(channels) = &self.channels else {
            return;
        };
        let (journaled, other) = (channels.journaled.clone(), channels.other.clone());
        if self.to_send.is_empty() || self.link.is_blocked() {
            return;
        }
        while self.on_their_way < WINDOW {
            let Some(number) = self.to_send.front().copied() else {
                break;
            };
            let Some(entry) = self.entries.get_mut(&number) else {
                self.to_send.pop_front();
                continue;
            };
            let bytes = entry.message.body.len();
            if self.on_their_way > 0 && self.bytes_on_their_way.saturating_add(bytes) > WINDOW_BYTES {
                break;
            }
            self.to_send.pop_front();
            // Nobody waits for it any more, and nothing of it was sent: it need not be.
            if self
                .batches
                .get(&entry.batch)
                .is_none_or(|batch| batch.reply.is_closed())
            {
                let batch = entry.batch;
                self.end(batch, Err(Unconfirmed::Closed));
                continue;
            }
            if self.on_their_way == 0 {
                self.progress = Instant::now();
            }
            entry.on_its_way = true;
            self.on_their_way += 1;
            self.bytes_on_their_way += bytes;
            let channel = if entry.message.journaled {
                &journaled
            } else {
                &other
            };
            self.flight
                .push(publish(channel.clone(), number, entry.message.clone()).boxed());
        }
    }

    /// What an answer means.
    fn settle(&mut self, done: Done) {
        let (number, answer) = match done {
            Done::Answered(number, answer) => (number, answer),
            Done::Fence => {
                for number in self.fenced.take().unwrap_or_default() {
                    self.confirm(number);
                }
                return;
            }
        };
        self.progress = Instant::now();
        self.landed(number);
        match answer {
            Answer::Ack(None) => self.confirmed.push(number),
            Answer::Ack(Some(returned)) => {
                if self.returned(&returned) != Some(number) {
                    self.send_again(number);
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
            Answer::Failed(why) => self.channel_failed(&why),
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

    /// A message is not on its way any more.
    fn landed(&mut self, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number)
            && entry.on_its_way
        {
            entry.on_its_way = false;
            self.on_their_way -= 1;
            self.bytes_on_their_way -= entry.message.body.len();
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

    fn send_again(&mut self, number: u64) {
        if self.entries.contains_key(&number) {
            self.to_send.push_front(number);
        }
    }

    /// Forgets the channels: everything unsettled has to be sent again.
    fn begin_again(&mut self, why: &str) {
        if self.channels.take().is_some() {
            self.trouble = Some(why.into());
        }
        self.opening = None;
        self.flight.clear();
        self.on_their_way = 0;
        self.bytes_on_their_way = 0;
        self.confirmed.clear();
        self.fenced = None;
        for entry in self.entries.values_mut() {
            entry.on_its_way = false;
        }
        self.to_send = self.entries.keys().copied().collect();
    }

    /// A channel does not work any more; the connection may.
    fn channel_failed(&mut self, why: &str) {
        self.begin_again(why);
        self.failures = self.failures.saturating_add(1);
        let wait = REOPEN.delay(self.failures);
        tracing::warn!(
            wait_ms = wait.as_millis(),
            "the channel to RabbitMQ failed: {why}"
        );
        let connection = self.link.connection().borrow().clone();
        self.opening = connection.map(|connection| open(connection, self.journal.clone(), wait).boxed());
    }

    fn opened(&mut self, opened: Result<Channels, String>) {
        self.opening = None;
        match opened {
            Ok(channels) => {
                self.channels = Some(channels);
                self.progress = Instant::now();
            }
            Err(why) => self.channel_failed(&why),
        }
    }

    /// Tells the publishers whose time is up.
    fn expire(&mut self) {
        let now = Instant::now();
        // All have the same deadline, so those that came first are late first.
        while let Some((_, entry)) = self.entries.first_key_value() {
            let name = entry.batch;
            let Some(batch) = self.batches.get(&name) else {
                // Cannot be: they are forgotten together.
                self.entries.pop_first();
                continue;
            };
            if now.duration_since(batch.since) < self.deadline {
                break;
            }
            let trouble = match &*self.link.health().borrow() {
                Health::Up => self.trouble.clone(),
                health => Some(health.to_string().into()),
            };
            let after = self.deadline;
            self.end(name, Err(Unconfirmed::Late { after, trouble }));
        }
        // While nothing can be sent, these would pile up.
        while let Some(number) = self.to_send.front()
            && !self.entries.contains_key(number)
        {
            self.to_send.pop_front();
        }
    }

    /// Gives up a connection on which nothing is confirmed although something should be.
    fn watch_progress(&mut self) {
        if self.told != self.on_their_way {
            self.told = self.on_their_way;
            gauges::unconfirmed(self.told);
        }
        if self.on_their_way == 0 {
            self.failures = 0;
        } else if self.channels.is_some()
            && self.progress.elapsed() > self.confirm_timeout
            && *self.link.health().borrow() == Health::Up
        {
            tracing::warn!(
                unconfirmed = self.on_their_way,
                "RabbitMQ has confirmed nothing for {:?}; the connection is given up",
                self.confirm_timeout
            );
            self.progress = Instant::now();
            self.trouble = Some("nothing was confirmed".into());
            self.link.give_up();
        }
    }
}

fn reply(batch: Waiting, result: Result<(), Unconfirmed>) {
    // Whoever is gone need not know.
    drop(batch.reply.send(result));
}

#[cfg(test)]
mod tests;
