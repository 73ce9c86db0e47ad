//! The journal in the file.

use lockflight_promotion::message::Envelope;
use rusqlite::params;

use super::EmbeddedFleet;
use super::session::Session;
use super::store::StoreError;
use crate::clock::millis;
use crate::wire::Encoded;
use crate::{Content, Journal, JournalError, Offset, Recorded};

/// No answer is longer than this, so that a reader does not hold up the writers.
const LONGEST_READ: usize = 1_000;

/// How many new records it takes until the journal is pruned again.
const PRUNE_EVERY: u32 = 512;

/// How many records one pruning looks at, several times what came in since the last one.
const PRUNE_AT_ONCE: i64 = 4_096;

impl Journal for EmbeddedFleet {
    async fn append(&self, messages: &[Envelope]) -> Result<(), JournalError> {
        if messages.is_empty() {
            return Ok(());
        }
        let messages = Encoded::all(messages).map_err(JournalError::Encode)?;
        Ok(self
            .inner
            .store
            .run(move |session| session.record(&messages))
            .await?)
    }

    async fn read(&self, after: Offset, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        let rows = self
            .inner
            .store
            .run(move |session| session.records(after, limit.min(LONGEST_READ)))
            .await?;
        Ok(rows
            .into_iter()
            .map(|(offset, recorded_at, bytes)| Recorded {
                offset: Offset(offset),
                recorded_at,
                content: Content::decode(&bytes),
            })
            .collect())
    }

    async fn changed(&self, after: Offset) {
        let mut last = self.signals().journal();
        // An error is impossible while `self` holds the sender.
        drop(last.wait_for(|last| *last > after.0).await);
    }
}

impl Session {
    /// Adds messages to the journal, as far as it keeps them.
    pub(super) fn record(&mut self, messages: &[Encoded]) -> Result<(), StoreError> {
        let now = self.clock().time_of_day();
        for message in messages.iter().filter(|message| message.journaled) {
            self.execute(
                "INSERT INTO journal (recorded_at, bytes_up_to, envelope) VALUES (
                     ?1,
                     COALESCE((SELECT bytes_up_to FROM journal ORDER BY place DESC LIMIT 1), 0) + LENGTH(?2),
                     ?2)",
                params![now, message.bytes],
            )?;
            self.touched.journal = Some(self.connection.last_insert_rowid().cast_unsigned());
        }
        self.unpruned = self
            .unpruned
            .saturating_add(u32::try_from(messages.len()).unwrap_or(u32::MAX));
        if self.unpruned >= PRUNE_EVERY {
            self.prune_journal()?;
        }
        Ok(())
    }

    fn records(&mut self, after: Offset, limit: usize) -> Result<Vec<(u64, i64, Vec<u8>)>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = i64::try_from(after.0).unwrap_or(i64::MAX);
        self.list(
            "SELECT place, recorded_at, envelope FROM journal WHERE place > ?1 ORDER BY place LIMIT ?2",
            params![after, limit],
            |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?, row.get(2)?)),
        )
    }

    pub(super) fn last_record(&self) -> Result<u64, StoreError> {
        let last: Option<i64> = self.find(
            "SELECT seq FROM sqlite_sequence WHERE name = 'journal'",
            [],
            |row| row.get(0),
        )?;
        Ok(last.unwrap_or(0).cast_unsigned())
    }

    /// Deletes the oldest records that are over a limit; never the last one, which carries the sum of the sizes.
    pub(super) fn prune_journal(&mut self) -> Result<(), StoreError> {
        self.unpruned = 0;
        let limits = self.options.journal;
        let last: Option<(i64, i64)> = self.find(
            "SELECT place, bytes_up_to FROM journal ORDER BY place DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let Some((last, bytes)) = last else { return Ok(()) };
        let oldest_time = limits.max_age.map_or(i64::MIN, |age| {
            self.clock().time_of_day().saturating_sub(millis(age))
        });
        let first_byte = limits.max_bytes.map_or(i64::MIN, |max| {
            bytes.saturating_sub(i64::try_from(max).unwrap_or(i64::MAX))
        });
        self.execute(
            "DELETE FROM journal WHERE place < ?1 AND place <= (
                 SELECT MAX(place) FROM (
                     SELECT place, recorded_at, bytes_up_to - LENGTH(envelope) AS bytes_before
                     FROM journal ORDER BY place LIMIT ?2)
                 WHERE recorded_at < ?3 OR bytes_before < ?4)",
            params![last, PRUNE_AT_ONCE, oldest_time, first_byte],
        )?;
        Ok(())
    }
}
