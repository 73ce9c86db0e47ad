//! Messages that may be what ends its worker's process: counted before they are handed out.
//!
//! The broker can't tell what was in a worker's hands when a connection ended from what only waited in the same process, and its versions
//! count differently. So its count makes suspects and no more. A suspect is written down before it is handed out: a copy that counts one
//! more loss is published, and takes the message's place; when the worker has said what became of it, the copy is settled in its stead, once it
//! is here. If the process dies over it, the copy is what is left, and its count is true. So a message is parked for what was in a worker's hands,
//! never for connections that were lost while it waited.
//!
//! - Few suspects are in hand at a time, so that few are counted along with the one that ends the process; and one that was counted twice
//!   already is the only one.
//! - What this process held when a connection ended, and lived on, is no suspect here: whatever ends a process did not end this one.
//!
//! What this ignores: a copy that goes to another process, as among planners or when a partition changes hands, is worked on there too, and one
//! that comes after [`REMEMBERED`] once more. Both double once, and lose nothing: planners write down only what the broker took back, and a
//! partition has one consumer, to whom its own copies return.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockflight_promotion::MessageId;

use super::message::Incoming;

/// How many suspects are in hand at a time.
const TOGETHER: usize = 4;

/// From so many counted losses on a suspect is the only one.
const ALONE: u32 = 2;

/// For how long the copy of a message that is done is waited for.
const REMEMBERED: Duration = Duration::from_hours(1);

/// How many are remembered, as held when a connection ended, or as done, at most.
const MOST: usize = 100_000;

/// What is known of suspects.
#[derive(Debug, Default)]
pub(super) struct Trials {
    running: HashMap<MessageId, Arc<Incoming>>,
    /// Those that are done, and whose copies are yet to come, with the copies' counts.
    done: HashMap<MessageId, (u32, Instant)>,
    /// What was held when a connection ended.
    excused: HashSet<MessageId>,
}

/// What a message that arrives is to those that were written down.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// Nothing: it is a message like others.
    Unknown,
    /// The copy of one that is in hand; it was kept.
    Copy,
    /// The copy of one that is done, or one more of a copy that was kept: it only needs to be acknowledged.
    Done,
}

fn id(incoming: &Incoming) -> Option<&MessageId> {
    incoming.content.envelope().map(|envelope| &envelope.id)
}

impl Trials {
    /// Whether it has to be written down before it is handed out.
    pub(super) fn is_to_be_written(&self, incoming: &Incoming) -> bool {
        incoming.is_to_be_written() && !self.is_excused(incoming)
    }

    /// Whether there is nobody to excuse.
    fn is_excused(&self, incoming: &Incoming) -> bool {
        id(incoming).is_none_or(|id| self.excused.contains(id))
    }

    /// Whether it may be handed out now, as far as this is concerned.
    pub(super) fn may(&self, incoming: &Incoming) -> bool {
        if !incoming.is_uncertain() || self.is_excused(incoming) {
            return true;
        }
        if id(incoming).is_some_and(|id| self.running.contains_key(id)) {
            return false;
        }
        let is_alone = |incoming: &Incoming| incoming.lost >= ALONE;
        if is_alone(incoming) {
            self.running.is_empty()
        } else {
            self.running.len() < TOGETHER && !self.running.values().any(|other| is_alone(other))
        }
    }

    /// It is about to be written down.
    pub(super) fn begin(&mut self, incoming: &Arc<Incoming>) {
        incoming.make_way();
        if let Some(id) = id(incoming) {
            self.running.insert(id.clone(), Arc::clone(incoming));
        }
    }

    /// It is handed out: from now on a process may end by it.
    pub(super) fn handed_out(&mut self, incoming: &Arc<Incoming>) {
        if let Some(id) = id(incoming) {
            self.excused.remove(id);
            if incoming.is_uncertain() && !self.running.contains_key(id) {
                self.running.insert(id.clone(), Arc::clone(incoming));
            }
        }
    }

    /// A message has arrived.
    pub(super) fn arrived(&mut self, incoming: &Arc<Incoming>) -> Arrived {
        let Some(id) = id(incoming) else {
            return Arrived::Unknown;
        };
        if self.done.get(id).is_some_and(|(lost, _)| *lost == incoming.lost) {
            self.done.remove(id);
            return Arrived::Done;
        }
        let running = self.running.get(id);
        let running = running.filter(|running| running.lost + 1 == incoming.lost);
        running.map_or(Arrived::Unknown, |running| running.keep_copy(incoming))
    }

    /// It is out of its worker's hands. Returns its copy if that is to go back to the broker, since the message was not settled.
    pub(super) fn end(&mut self, now: Instant, incoming: &Arc<Incoming>) -> Option<Arc<Incoming>> {
        let id = id(incoming)?;
        if !self
            .running
            .get(id)
            .is_some_and(|running| Arc::ptr_eq(running, incoming))
        {
            return None;
        }
        self.running.remove(id);
        if incoming.is_owed() && self.done.len() < MOST {
            self.done.insert(id.clone(), (incoming.lost + 1, now));
        }
        incoming.take_copy()
    }

    /// A connection has ended, and this process lives on: these were held there.
    pub(super) fn excuse<'a>(&mut self, held: impl Iterator<Item = &'a Arc<Incoming>>) {
        let ids = held.filter_map(|incoming| id(incoming)).cloned();
        self.excused.extend(ids);
        if self.excused.len() > MOST {
            self.excused.clear();
        }
    }

    /// Forgets what has not come for long.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.done
            .retain(|_, (_, since)| now.saturating_duration_since(*since) < REMEMBERED);
    }
}

#[cfg(test)]
mod tests;
