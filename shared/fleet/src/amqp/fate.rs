//! What becomes of a message that is not simply done, as the messages that are to be published for it.
//!
//! Whatever is decided here is carried out in one order only: publish, wait for the confirms, then acknowledge the message. A crash in
//! between doubles a message and never loses one. Of several, what is for the journal comes first: as long as that can't be published, the
//! message is not doubled over and over.

use std::time::Duration;

use lockflight_promotion::MessageId;
use lockflight_promotion::message::{Body, Envelope, Outcome};

use super::AmqpOptions;
use super::message::{Incoming, Outgoing, Standing, cut, now_millis};
use super::topology::Names;
use crate::clock::millis;
use crate::{Retried, Work};

/// The longest id of a message.
const ID_CHARS: usize = 200;

/// How often the broker has to have taken a message back before it is a suspect.
const SUSPECT: u32 = 3;

/// How often, before it is written down each time that it is handed out. More, since partitions that change hands count too, and a copy that is
/// written down may double it then.
const UNCERTAIN: u32 = 10;

/// Where messages go, by these options.
#[derive(Clone, Debug)]
pub(super) struct Fates {
    pub(super) options: AmqpOptions,
    pub(super) names: Names,
}

impl Incoming {
    /// How often it was handed out before and came back: as its headers count, and since then as the broker does.
    pub(super) fn attempt(&self) -> u32 {
        self.failed.saturating_add(self.losses())
    }

    /// Whether it may be what broke its worker, so that it is handed out alone. The broker also counts, for all that it takes back from a
    /// process, what nobody had begun with, which after a death or a hand-over may be hundreds of one repository; so its word alone
    /// makes no suspect of a message before it has come back a few times.
    pub(super) fn is_suspect(&self) -> bool {
        self.failed > 0 || self.losses() >= SUSPECT || self.is_uncertain()
    }

    /// Whether it has to be written down before it is handed out. Where planners compete, a copy may come to another process than the one that
    /// wrote it, which would write the next one. So a message that processes compete for is written down only once the broker took it back: a copy that nobody
    /// had counts its next hand-out already, and ends the row.
    pub(super) fn is_to_be_written(&self) -> bool {
        self.is_uncertain() && (self.work == Some(Work::Steps) || self.work.is_none() || self.redelivered)
    }

    /// Whether it may be what ended its worker's process: it was handed out without a word, or the broker took it back a few times, or takes
    /// back and does not count.
    pub(super) fn is_uncertain(&self) -> bool {
        self.lost > 0 || (self.redelivered && self.delivery_count.is_none_or(|count| count >= UNCERTAIN))
    }

    /// How often that was without a word.
    fn losses(&self) -> u32 {
        let by_broker = if self.redelivered {
            self.delivery_count.unwrap_or(1)
        } else {
            0
        };
        self.lost.saturating_add(by_broker)
    }

    /// How long until it is due; none if it is.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = u64::try_from(self.due?.saturating_sub(now_millis())).unwrap_or(0);
        (left > 0).then(|| Duration::from_millis(left))
    }
}

impl Fates {
    /// It failed: it comes again, or is parked after the last attempt. The journal is told either way.
    pub(super) fn failed(&self, incoming: &Incoming, reason: &str) -> (Retried, Vec<Outgoing>) {
        let failed = incoming.failed.saturating_add(1);
        if failed >= self.options.max_attempts {
            return (
                Retried::Parked,
                self.park(incoming, failed, incoming.losses(), reason),
            );
        }
        let wait = self.options.backoff.delay(failed);
        let standing = Standing {
            failed,
            lost: incoming.lost,
            due: None,
            reason: Some(reason),
        };
        let outcome = Outcome::Retried {
            reason: cut(reason),
            after_ms: u64::try_from(millis(wait)).unwrap_or(0),
        };
        let note = self.note(incoming, incoming.attempt(), outcome);
        let later = self.later(incoming, wait, standing);
        (Retried::After(wait), note.into_iter().chain([later]).collect())
    }

    /// It was handed out and nothing was heard of it. It comes again, after the usual wait if its worker panicked over it; or is parked if
    /// that happened too often.
    pub(super) fn lost(&self, incoming: &Incoming, reason: &str, panicked: bool) -> Vec<Outgoing> {
        let lost = incoming.lost.saturating_add(1);
        if lost >= self.options.max_losses {
            let reason = format!("{reason}, {lost} times");
            return self.park(incoming, incoming.failed, lost, &reason);
        }
        let standing = Standing {
            failed: incoming.failed,
            lost,
            due: None,
            reason: Some(reason),
        };
        let wait = if panicked {
            self.options.backoff.delay(lost)
        } else {
            Duration::ZERO
        };
        vec![self.later(incoming, wait, standing)]
    }

    /// It is about to be handed out, and may be what ends its worker's process: a copy of it that counts that already. Or, when that was so
    /// too often, what parks it.
    pub(super) fn written(&self, incoming: &Incoming) -> Result<Outgoing, Vec<Outgoing>> {
        let lost = incoming.lost;
        if lost >= self.options.max_losses {
            let reason = format!("it was handed out {lost} times, and its process ended each time");
            return Err(self.park(incoming, incoming.failed, lost, &reason));
        }
        let standing = Standing {
            lost: lost.saturating_add(1),
            reason: incoming.reason.as_deref(),
            ..counts(incoming)
        };
        Ok(Outgoing::back(incoming, &self.names, &standing))
    }

    /// It waits for something that is no failure.
    pub(super) fn deferred(&self, incoming: &Incoming, wait: Duration) -> Outgoing {
        self.later(incoming, wait, counts(incoming))
    }

    /// It is not due yet, and goes on to the next rung of the ladder. None if what is left is shorter than any rung.
    pub(super) fn hop(&self, incoming: &Incoming, left: Duration) -> Option<Outgoing> {
        let rung = self.rung(left)?;
        let standing = Standing {
            due: incoming.due,
            ..counts(incoming)
        };
        Some(Outgoing::retry(incoming, &self.names, rung, &standing))
    }

    /// It was held for too long, unseen: to the end of its queue.
    pub(super) fn put_back(&self, incoming: &Incoming) -> Outgoing {
        Outgoing::back(incoming, &self.names, &counts(incoming))
    }

    /// It waits for a person, and the journal is told.
    pub(super) fn parked(&self, incoming: &Incoming, reason: &str) -> Vec<Outgoing> {
        self.park(incoming, incoming.failed, incoming.losses(), reason)
    }

    fn park(&self, incoming: &Incoming, failed: u32, lost: u32, reason: &str) -> Vec<Outgoing> {
        let standing = Standing {
            failed,
            lost,
            due: None,
            reason: Some(reason),
        };
        let parked = Outgoing::parked(incoming, &self.names, &standing);
        let outcome = Outcome::Parked { reason: cut(reason) };
        let note = self.note(incoming, failed.saturating_add(lost), outcome);
        note.into_iter().chain([parked]).collect()
    }

    fn later(&self, incoming: &Incoming, wait: Duration, standing: Standing<'_>) -> Outgoing {
        if wait.is_zero() {
            return Outgoing::back(incoming, &self.names, &standing);
        }
        let standing = Standing {
            due: Some(now_millis().saturating_add(millis(wait))),
            ..standing
        };
        // What is shorter than any rung waits for its consumer there.
        match self.rung(wait) {
            Some(rung) => Outgoing::retry(incoming, &self.names, rung, &standing),
            None => Outgoing::back(incoming, &self.names, &standing),
        }
    }

    /// The longest rung that is not longer than a wait.
    fn rung(&self, wait: Duration) -> Option<usize> {
        let rungs = self.options.ladder.iter().enumerate();
        let short_enough = rungs.filter(|(_, rung)| **rung <= wait);
        short_enough
            .max_by_key(|(_, rung)| **rung)
            .map(|(place, _)| place)
    }

    /// What the journal is told of a message, if it can be read.
    fn note(&self, incoming: &Incoming, attempt: u32, outcome: Outcome) -> Option<Outgoing> {
        let envelope = incoming.content.envelope()?;
        let note = note(envelope, attempt, outcome)?;
        match Outgoing::event(&note, &self.names, self.options.max_message) {
            Ok(note) => Some(note),
            Err(error) => {
                tracing::error!(message.id = %envelope.id, "an outcome could not be written: {error:?}");
                None
            }
        }
    }
}

const fn counts(incoming: &Incoming) -> Standing<'_> {
    Standing {
        failed: incoming.failed,
        lost: incoming.lost,
        due: None,
        reason: None,
    }
}

fn note(envelope: &Envelope, attempt: u32, outcome: Outcome) -> Option<Envelope> {
    // The same may happen to a message many times, and each time is a record of its own.
    let suffix = format!("/{}.{}", outcome.name(), now_millis());
    let stem: String = envelope
        .id
        .as_str()
        .chars()
        .take(ID_CHARS.saturating_sub(suffix.len()))
        .collect();
    let id = MessageId::parse(format!("{stem}{suffix}")).ok()?;
    let mut note = envelope.follow(id, Body::Outcome(outcome));
    note.attempt = attempt;
    Some(note)
}

#[cfg(test)]
mod tests;
