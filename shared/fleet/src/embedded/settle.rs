//! What becomes of a message that was handed out.
//!
//! Each change here demands that the message is still in flight under the same receipt, so that a worker whose time was over changes
//! nothing.

use std::time::Duration;

use lockflight_promotion::MessageId;
use lockflight_promotion::message::{Body, Envelope, Outcome};
use rusqlite::params;

use super::messages::Receipt;
use super::session::{Session, work_of_code};
use super::store::StoreError;
use crate::clock::millis;
use crate::wire::Encoded;
use crate::{Content, Retried, Settled};

/// Reasons are for people: longer ones are cut.
const REASON_CHARS: usize = 2_000;

/// What a worker decided.
#[derive(Debug)]
pub(super) enum Verdict {
    Done,
    Defer(Duration),
    Park(String),
}

impl Session {
    /// Settles a message and publishes what follows from it.
    pub(super) fn settle(
        &mut self,
        receipt: Receipt,
        verdict: &Verdict,
        follow: &[Encoded],
    ) -> Result<Settled, StoreError> {
        let settled = match verdict {
            Verdict::Done => self.finish(receipt)?,
            Verdict::Defer(wait) => self.delay(receipt, *wait, 0, None)?,
            Verdict::Park(reason) => self.park(receipt, reason)?,
        };
        if settled {
            self.publish(follow)?;
        }
        Ok(done_if(settled))
    }

    /// Counts a failure: the message waits, or is parked after the last attempt.
    pub(super) fn retry(
        &mut self,
        receipt: Receipt,
        reason: &str,
        last_words: &[Encoded],
    ) -> Result<Retried, StoreError> {
        let Some(failed) = self.count(receipt, "failed")? else {
            return Ok(Retried::Stale);
        };
        let failures = failed.saturating_add(1);
        let retried = if failures >= self.options.max_attempts {
            self.execute(
                "UPDATE messages SET failed = ?2 WHERE seq = ?1",
                params![receipt.seq, failures],
            )?;
            self.park(receipt, reason)?;
            self.publish(last_words)?;
            Retried::Parked
        } else {
            let wait = self.options.backoff.delay(failures);
            let after_ms = u64::try_from(millis(wait)).unwrap_or(0);
            self.note(receipt, "retried", |_| Outcome::Retried {
                reason: cut(reason),
                after_ms,
            })?;
            self.delay(receipt, wait, 1, Some(reason))?;
            Retried::After(wait)
        };
        Ok(retried)
    }

    /// Starts the visibility timeout again.
    pub(super) fn keep(&mut self, receipt: Receipt) -> Result<Settled, StoreError> {
        let back_at = self
            .clock()
            .steady()
            .saturating_add(millis(self.options.visibility));
        let kept = self.execute(
            "UPDATE messages SET due_at = ?3 WHERE seq = ?1 AND receipt = ?2 AND state = 2",
            params![receipt.seq, receipt.number, back_at],
        )?;
        Ok(done_if(kept > 0))
    }

    /// Puts back, uncounted, what nobody saw.
    pub(super) fn put_back(&mut self, receipt: Receipt) -> Result<(), StoreError> {
        let work = self.find(
            "UPDATE messages SET state = 0 WHERE seq = ?1 AND receipt = ?2 AND state = 2 RETURNING work",
            params![receipt.seq, receipt.number],
            |row| row.get(0),
        )?;
        self.touch_code(work);
        Ok(())
    }

    /// Counts a hand-out that ended without a word: the message is ready again at once, or parked if that happened too often.
    pub(super) fn lose(&mut self, receipt: Receipt, reason: &str) -> Result<(), StoreError> {
        let Some(lost) = self.count(receipt, "lost")? else {
            return Ok(());
        };
        let lost = lost.saturating_add(1);
        let park = lost >= self.options.max_losses;
        let work = self.find(
            "UPDATE messages SET lost = ?2, state = CASE WHEN ?3 THEN state ELSE 0 END, reason = ?4
             WHERE seq = ?1 RETURNING work",
            params![receipt.seq, lost, park, cut(reason)],
            |row| row.get(0),
        )?;
        self.touch_code(work);
        if park {
            self.park(receipt, &format!("{reason}, {lost} times"))?;
        }
        Ok(())
    }

    /// Takes back everything in flight, counted. Returns how much that was.
    pub(super) fn take_back_all(&mut self) -> Result<usize, StoreError> {
        let in_flight = self.list("SELECT seq, receipt FROM messages WHERE state = 2", [], |row| {
            Ok(Receipt {
                seq: row.get(0)?,
                number: row.get(1)?,
            })
        })?;
        for receipt in &in_flight {
            self.lose(*receipt, "the process ended before it was settled")?;
        }
        Ok(in_flight.len())
    }

    /// Puts back what was parked because an older version could not read it. This one may.
    pub(super) fn retry_unreadable(&mut self) -> Result<usize, StoreError> {
        self.execute(
            "UPDATE messages SET state = 0, failed = 0, lost = 0, unreadable = 0 WHERE state = 3 AND unreadable = 1",
            [],
        )
    }

    /// Lets a message wait for a newer reader; parks it after the last attempt.
    pub(super) fn set_unreadable_aside(&mut self, receipt: Receipt, reason: &str) -> Result<(), StoreError> {
        tracing::warn!(
            message.seq = receipt.seq,
            reason,
            "a message waits for a newer reader"
        );
        if self.retry(receipt, reason, &[])? == Retried::Parked {
            self.execute("UPDATE messages SET unreadable = 1 WHERE seq = ?1", [receipt.seq])?;
        }
        Ok(())
    }

    /// Parks a message and records that in the journal.
    fn park(&mut self, receipt: Receipt, reason: &str) -> Result<bool, StoreError> {
        self.note(receipt, "parked", |_| Outcome::Parked { reason: cut(reason) })?;
        self.park_row(receipt, reason)
    }

    /// Parks a message.
    pub(super) fn park_row(&mut self, receipt: Receipt, reason: &str) -> Result<bool, StoreError> {
        let since = self.clock().time_of_day();
        let work = self.find(
            "UPDATE messages SET state = 3, due_at = ?3, reason = ?4
             WHERE seq = ?1 AND receipt = ?2 AND state = 2 RETURNING work",
            params![receipt.seq, receipt.number, since, cut(reason)],
            |row| row.get(0),
        )?;
        self.touch_code(work);
        Ok(work.is_some())
    }

    /// Deletes a message that is done. A strict queue may hand it out once more instead.
    fn finish(&mut self, receipt: Receipt) -> Result<bool, StoreError> {
        let percent = self.options.strictness.redeliver;
        let again = self.dice.happens(percent) && self.count(receipt, "lost")? == Some(0);
        let work = self.find(
            if again {
                "UPDATE messages SET state = 0, lost = 1
                 WHERE seq = ?1 AND receipt = ?2 AND state = 2 RETURNING work"
            } else {
                "DELETE FROM messages WHERE seq = ?1 AND receipt = ?2 AND state = 2 RETURNING work"
            },
            params![receipt.seq, receipt.number],
            |row| row.get(0),
        )?;
        self.touch_code(work);
        Ok(work.is_some())
    }

    fn delay(
        &mut self,
        receipt: Receipt,
        wait: Duration,
        failures: u32,
        reason: Option<&str>,
    ) -> Result<bool, StoreError> {
        let due_at = self.clock().steady().saturating_add(millis(wait));
        let work = self.find(
            "UPDATE messages SET state = 1, due_at = ?3, failed = failed + ?4, reason = COALESCE(?5, reason)
             WHERE seq = ?1 AND receipt = ?2 AND state = 2 RETURNING work",
            params![receipt.seq, receipt.number, due_at, failures, reason.map(cut)],
            |row| row.get(0),
        )?;
        // Others of the repository may go on, and those who wait must learn of the new time.
        self.touch_code(work);
        Ok(work.is_some())
    }

    /// A counter of a message that is still out under that receipt.
    fn count(&self, receipt: Receipt, column: &'static str) -> Result<Option<u32>, StoreError> {
        self.find(
            match column {
                "failed" => "SELECT failed FROM messages WHERE seq = ?1 AND receipt = ?2 AND state = 2",
                _ => "SELECT lost FROM messages WHERE seq = ?1 AND receipt = ?2 AND state = 2",
            },
            params![receipt.seq, receipt.number],
            |row| row.get(0),
        )
    }

    fn touch_code(&mut self, work: Option<i64>) {
        if let Some(work) = work {
            self.touch(work_of_code(work));
        }
    }

    /// Records what became of a message in the journal, if it is still out under that receipt and can be read.
    fn note(
        &mut self,
        receipt: Receipt,
        what: &str,
        outcome: impl FnOnce(&Envelope) -> Outcome,
    ) -> Result<(), StoreError> {
        let row = self.find(
            "SELECT failed + lost, receipt, envelope FROM messages WHERE seq = ?1 AND receipt = ?2 AND state = 2",
            params![receipt.seq, receipt.number],
            |row| {
                Ok((
                    row.get::<_, u32>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, Vec<u8>>(2)?,
                ))
            },
        )?;
        let Some((attempt, number, bytes)) = row else {
            return Ok(());
        };
        let Content::Envelope(envelope) = Content::decode(&bytes) else {
            return Ok(());
        };
        // A message can be retried often, and each time is a record of its own.
        let suffix = format!("/{what}.{number}");
        let room = 200_usize.saturating_sub(suffix.len());
        let stem: String = envelope.id.as_str().chars().take(room).collect();
        let Ok(id) = MessageId::parse(format!("{stem}{suffix}")) else {
            return Ok(());
        };
        let mut note = envelope.follow(id, Body::Outcome(outcome(&envelope)));
        note.attempt = attempt;
        match Encoded::new(&note) {
            Ok(encoded) => self.record(&[encoded]),
            Err(error) => {
                tracing::error!(%error, "an outcome could not be written as JSON");
                Ok(())
            }
        }
    }
}

const fn done_if(settled: bool) -> Settled {
    if settled { Settled::Done } else { Settled::Stale }
}

fn cut(reason: &str) -> String {
    reason.chars().take(REASON_CHARS).collect()
}
