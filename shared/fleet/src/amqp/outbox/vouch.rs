//! What a confirm does not say: whether the way to the work queues is there.
//!
//! The exchange of new messages gives each to the journal's stream and to the exchange before the work queues. Where somebody has taken
//! the binding to the latter away, the broker still confirms, since the journal has the message. So whatever was confirmed there waits for a
//! message that is for nobody, sent after it: while the binding is there, the broker refuses that one; without it, it comes back, and all that waits
//! for it has failed. One of them vouches for everything that was confirmed before it was sent.

use std::time::Duration;

use futures::FutureExt as _;
use lapin::Channel;
use tokio::time::Instant;

use super::channels::{self, Answer, Returned, Why, open};
use super::lane::Lane;
use super::{Outbox, Unconfirmed};
use crate::amqp::message::{Outgoing, PROBE};
use crate::amqp::names::Names;

/// What is confirmed and not vouched for yet.
pub(super) struct Vouch {
    /// Of the message that is for nobody, and of nothing else.
    pub(super) lane: Lane,
    message: Outgoing,
    /// What is confirmed, and waits for the next one.
    pub(super) waiting: Vec<u64>,
    /// What waits for the one that is on its way.
    on_its_way: Option<Vec<u64>>,
}

impl Vouch {
    pub(super) fn new(names: &Names) -> Self {
        Self {
            lane: Lane::new(),
            message: Outgoing::probe(names),
            waiting: Vec::new(),
            on_its_way: None,
        }
    }

    pub(super) const fn is_on_its_way(&self) -> bool {
        self.on_its_way.is_some()
    }

    /// All that waits now waits for that one.
    pub(super) fn take_off(&mut self) {
        self.on_its_way = Some(std::mem::take(&mut self.waiting));
    }

    /// Forgets what waits; it is published once more.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.on_its_way = None;
    }
}

impl Outbox {
    /// Whether a confirm of that message does not say everything. Outcomes come to the journal by way of the work queues' exchange alone, so
    /// that without it they are returned.
    pub(super) fn needs_a_word(&self, number: u64) -> bool {
        let entry = self.entries.get(&number);
        entry.is_some_and(|super::Entry { message, .. }| {
            let key = message.routing_key.as_str();
            message.exchange == self.vouch.message.exchange && key != PROBE && !key.starts_with("outcome.")
        })
    }

    /// Sends the message that is for nobody, if something waits for it.
    pub(super) fn raise_probe(&mut self) {
        let Some(channel) = self.vouch.lane.channel.clone() else {
            return;
        };
        if self.vouch.is_on_its_way() || self.vouch.waiting.is_empty() {
            return;
        }
        self.vouch.lane.progress = Instant::now();
        let number = self.next_entry;
        self.next_entry += 1;
        self.vouch.take_off();
        let generation = self.vouch.lane.generation;
        let message = self.vouch.message.clone();
        let probe = channels::probe(channel, generation, number, message);
        self.flight.push(probe.boxed());
    }

    /// What became of it.
    pub(super) fn probed(&mut self, generation: u64, answer: Answer) {
        if generation != self.vouch.lane.generation {
            return;
        }
        let Some(waiting) = self.vouch.on_its_way.take() else {
            return;
        };
        self.vouch.lane.progress = Instant::now();
        let why = match answer {
            // Where somebody listens to everything, as people do who look for a fault, that queue takes it before it comes to the one that refuses
            // it. It was not returned, so the way is there.
            Answer::Nack(_) | Answer::Ack(None) => {
                self.vouch.lane.failures = 0;
                for number in waiting {
                    self.confirm(number);
                }
                return;
            }
            Answer::Ack(Some(Returned { why, .. })) => why,
            Answer::Failed(why) => {
                self.vouch.lane.forget();
                let wait = self.vouch.lane.failed();
                self.failing(&why, wait);
                self.open_to_vouch(wait);
                let Some(reply) = why.reply else {
                    self.vouch.waiting.extend(waiting);
                    return;
                };
                reply
            }
        };
        let (events, work) = (self.names.events(), self.names.work());
        for number in waiting {
            self.fail(number, |_| Unconfirmed::Unbound {
                events: events.clone(),
                work: work.clone(),
                why: why.clone(),
            });
        }
    }

    pub(super) fn open_to_vouch(&mut self, wait: Duration) {
        let connection = self.link.connection().borrow().clone();
        let journal = self.names.journal();
        self.vouch.lane.opening = connection.map(|connection| open(connection, journal, wait).boxed());
    }

    pub(super) fn opened_to_vouch(&mut self, opened: Result<Channel, Why>) {
        let lane = &mut self.vouch.lane;
        lane.opening = None;
        match opened {
            Ok(channel) => lane.channel = Some(channel),
            Err(why) => {
                let wait = lane.failed();
                self.failing(&why, wait);
                self.open_to_vouch(wait);
            }
        }
    }
}
