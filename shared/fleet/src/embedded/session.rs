//! What the store's thread works with.

use std::sync::Arc;

use rusqlite::Connection;

use super::EmbeddedOptions;
use super::store::StoreError;
use crate::Work;
use crate::clock::Clock;

/// The connection, and what goes with it. It lives on the store's thread alone.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) connection: Connection,
    pub(super) options: EmbeddedOptions,
    pub(super) dice: Dice,
    /// Whose turn it was last, for each kind of work. In memory alone: only fairness depends on it.
    pub(super) turns: [i64; Work::ALL.len()],
    pub(super) touched: Touched,
    /// Records since the journal was last pruned.
    pub(super) unpruned: u32,
}

/// What the current batch of operations changed: whom to wake once it is committed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touched {
    pub(super) work: [bool; Work::ALL.len()],
    pub(super) journal: Option<u64>,
    pub(super) leases: bool,
}

impl Session {
    pub(super) fn new(connection: Connection, options: EmbeddedOptions) -> Self {
        connection.set_prepared_statement_cache_capacity(64);
        Self {
            connection,
            dice: Dice(options.strictness.reorder.unwrap_or(0)),
            options,
            turns: [i64::MAX; Work::ALL.len()],
            touched: Touched::default(),
            unpruned: 0,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.options.clock
    }

    pub(super) fn touch(&mut self, work: Work) {
        if let Some(touched) = self.touched.work.get_mut(code_index(work)) {
            *touched = true;
        }
    }

    /// Runs one statement and returns how many rows it changed.
    pub(super) fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(values)?)
    }

    /// Runs a query for at most one row.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        Ok(rows.next()?.map(read).transpose()?)
    }

    /// Runs a query for many rows.
    pub(super) fn list<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_map(values, read)?.collect::<Result<_, _>>()?)
    }
}

/// The index of a kind of work in arrays over [`Work::ALL`], and its code in the file.
pub(super) const fn code_index(work: Work) -> usize {
    match work {
        Work::Plan => 0,
        Work::Steps => 1,
        Work::Forward => 2,
    }
}

/// The code of a kind of work in the file.
pub(super) const fn code(work: Work) -> i64 {
    match work {
        Work::Plan => 0,
        Work::Steps => 1,
        Work::Forward => 2,
    }
}

pub(super) const fn work_of_code(code: i64) -> Work {
    match code {
        0 => Work::Plan,
        1 => Work::Steps,
        _ => Work::Forward,
    }
}

/// Seeded dice (splitmix64: <https://prng.di.unimi.it/splitmix64.c>), so that a strict run can be repeated.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of several, each as likely; none of none.
    pub(super) fn pick<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        let count = u64::try_from(among.len()).ok().filter(|count| *count > 0)?;
        among.get(usize::try_from(self.roll() % count).ok()?).copied()
    }

    /// True in about `percent` of 100 cases. Does not roll for 0.
    pub(super) fn happens(&mut self, percent: u8) -> bool {
        percent > 0 && self.roll() % 100 < u64::from(percent)
    }
}

/// An `Arc` around SQLite's error, so that all who waited for one commit can have it.
pub(super) type SharedError = Arc<rusqlite::Error>;
