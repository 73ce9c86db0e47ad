//! What is not answered: a channel on which the broker confirms nothing although it should, and a journal that takes nothing.
//!
//! Each way to the broker is looked at by itself. While the journal's stream has no leader, all that goes elsewhere is answered all the same.

use tokio::time::Instant;

use super::{Outbox, Unconfirmed};
use crate::amqp::connection::Health;
use crate::amqp::gauges;

impl Outbox {
    /// Tells the publishers whose time is up.
    pub(super) fn expire(&mut self) {
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
        for line in [
            &mut self.journaled.to_send,
            &mut self.other.to_send,
            &mut self.alone,
        ] {
            while let Some(number) = line.front()
                && !self.entries.contains_key(number)
            {
                line.pop_front();
            }
        }
    }

    /// Gives up a connection on which nothing is answered although something should be.
    pub(super) fn watch_progress(&mut self) {
        if self.told != self.on_their_way {
            self.told = self.on_their_way;
            gauges::unconfirmed(self.told);
        }
        let patience = self.confirm_timeout;
        let is_silent = (self.journaled.on_their_way > 0 && self.journaled.is_silent(patience))
            || (self.other.on_their_way > 0 && self.other.is_silent(patience))
            || (self.vouch.is_on_its_way() && self.vouch.lane.is_silent(patience))
            || (self.alone_on_their_way > 0 && self.alone_progress.elapsed() > patience);
        if is_silent && *self.link.health().borrow() == Health::Up {
            tracing::warn!(
                unconfirmed = self.on_their_way,
                "RabbitMQ has confirmed nothing on a channel for {patience:?}; the connection is given up"
            );
            self.forgive();
            self.trouble = Some("nothing was confirmed".into());
            self.link.give_up();
        }
    }

    /// Begins to wait for answers anew.
    pub(super) fn forgive(&mut self) {
        let now = Instant::now();
        self.alone_progress = now;
        for lane in [&mut self.journaled, &mut self.other, &mut self.vouch.lane] {
            lane.progress = now;
        }
    }

    /// Says whether the journal takes what waits for it. That goes on over a connection that was given up, so that whoever asks has a chance
    /// to learn of it.
    pub(super) fn watch_journal(&mut self) {
        let is_any = self.journaled.on_their_way > 0 || !self.journaled.to_send.is_empty();
        let waits = is_any && !self.link.is_blocked();
        if !waits {
            self.unjournaled = None;
        }
        let is_late = waits && {
            let since = self.unjournaled.get_or_insert_with(Instant::now);
            since.elapsed() > self.confirm_timeout
        };
        self.journal_is_late.send_if_modified(|late| {
            let changed = *late != is_late;
            *late = is_late;
            changed
        });
    }
}
