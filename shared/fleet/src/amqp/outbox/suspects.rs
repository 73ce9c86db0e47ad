//! Who was the end of a channel.
//!
//! A message that the broker can't take at all, such as one for an exchange that is not there, ends its channel, and with it the confirms of all
//! that was on its way there. Whoever of them it was is found out by sending them once more, each on a channel of its own: the one
//! that loses that, too, is told so, and the others are taken. Where the broker's words name an exchange, only what went there is
//! suspected. From then on what goes to that exchange goes alone, until the broker takes one of it; so one missing exchange costs the others a
//! channel once.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use super::channels::publish_alone;
use super::{Outbox, Sent, Unconfirmed, Way, Why};
use crate::Schedule;

/// How many go alone at a time. Each has a channel of its own, so that they can't be mistaken for one another.
const ALONE: usize = 8;

/// How long those that were on a channel that failed may take to come back.
const COMING_BACK: Duration = Duration::from_secs(1);

/// How long to wait when one that goes alone could not be tried.
const PAUSE: Schedule = Schedule {
    initial: Duration::from_millis(50),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: 0.3,
};

impl Outbox {
    /// Sends those that go alone.
    pub(super) fn send_alone(&mut self) {
        if self.alone.is_empty() || Instant::now() < self.alone_from {
            return;
        }
        let Some(connection) = self.link.connection().borrow().clone() else {
            return;
        };
        while self.alone_on_their_way < ALONE {
            let Some(number) = self.alone.pop_front() else {
                return;
            };
            if self.is_for_nobody(number) {
                continue;
            }
            if let Some(message) = self.leaves(number, Way::Alone) {
                let sent = Sent {
                    number,
                    way: Way::Alone,
                    generation: 0,
                };
                let journal = self.names.journal();
                let published = publish_alone(connection.clone(), journal, sent, message);
                self.flight.push(published.boxed());
            }
        }
    }

    /// One that went alone lost its channel, or got none.
    pub(super) fn tried(&mut self, number: u64, why: Why) {
        let Some(entry) = self.entries.get(&number) else {
            return;
        };
        let Some(reply) = why.reply else {
            // Not its doing.
            self.alone_failures = self.alone_failures.saturating_add(1);
            let wait = PAUSE.delay(self.alone_failures);
            self.alone_from = Instant::now() + wait;
            self.failing(&why, wait);
            self.line_up(number, true);
            return;
        };
        let exchange = entry.message.exchange.to_string();
        tracing::error!(exchange, "RabbitMQ can't take a message: {reply}");
        self.doubtful.insert(exchange);
        self.fail(number, |message| Unconfirmed::Untaken {
            exchange: message.exchange.to_string(),
            key: message.routing_key.to_string(),
            why: reply,
        });
    }

    /// Opens channels that failed anew, once all that was on them has come back.
    pub(super) fn bury(&mut self) {
        for way in [Way::Journaled, Way::Other] {
            let Some(lane) = self.lane(way) else { continue };
            let is_over = lane
                .dying
                .as_ref()
                .is_some_and(|dying| lane.on_their_way == 0 || dying.since.elapsed() >= COMING_BACK);
            if is_over {
                self.begin_lane_again(way);
            }
        }
    }

    fn begin_lane_again(&mut self, way: Way) {
        let Some(dying) = self.lane(way).and_then(|lane| lane.dying.take()) else {
            return;
        };
        let why = dying.why;
        // Those that did not come back are none the better.
        let still: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.on_its_way == Some(way))
            .map(|(number, _)| *number)
            .collect();
        let mut numbers = dying.suspects;
        for number in still {
            self.landed(number);
            numbers.push(number);
        }
        numbers.sort_unstable();
        let named = |number: &u64| {
            let entry = self.entries.get(number);
            entry.is_some_and(|entry| why.names(entry.message.exchange.as_str()))
        };
        let is_known = numbers.iter().any(named);
        let connection = self.link.connection().borrow().clone();
        // Then all of its channels are, and none of what was on them is to blame.
        let is_gone = connection.is_some_and(|connection| !connection.status().connected());
        for number in numbers.into_iter().rev() {
            let Some(entry) = self.entries.get_mut(&number) else {
                continue;
            };
            entry.suspect = !is_gone && (!is_known || why.names(entry.message.exchange.as_str()));
            if is_known && entry.suspect {
                self.doubtful.insert(entry.message.exchange.to_string());
            }
            self.line_up(number, true);
        }
        let Some(lane) = self.lane(way) else { return };
        lane.forget();
        let wait = lane.failed();
        self.failing(&why, wait);
        self.open(way, wait);
    }
}
