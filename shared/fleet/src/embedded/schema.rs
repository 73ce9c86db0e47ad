//! The file: who may open it, its tables, and what is tidied up at start.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::session::Session;
use super::store::StoreError;
use super::{EmbeddedOptions, OpenError};
use crate::BackendError;

/// "LKFT": tells our files from others' (<https://sqlite.org/pragma.html#pragma_application_id>).
const APPLICATION_ID: i64 = 0x4C4B_4654;

/// Each step takes the schema from the version of its index to the next. Steps that were released never change.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

pub(super) struct Open {
    pub(super) session: Session,
    /// Held as long as the file is open; none for a queue in memory.
    pub(super) file_lock: Option<FileLock>,
    /// The offset of the journal's last record, or 0.
    pub(super) last_record: u64,
}

/// The lock on the side file.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl Drop for FileLock {
    /// Unlocks by name: closing alone would not do while a child process that is just being started shares the descriptor.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the embedded queue's file could not be unlocked");
        }
    }
}

/// Locks and opens the file, brings its schema up to date, and takes back what a dead process held.
pub(super) fn open(path: Option<PathBuf>, options: EmbeddedOptions) -> Result<Open, OpenError> {
    let shown = path.clone().unwrap_or_else(|| PathBuf::from(":memory:"));
    let file_lock = path.as_deref().map(lock).transpose()?;
    let database = |error: rusqlite::Error| OpenError::Database {
        path: shown.clone(),
        source: BackendError::new(error),
    };
    let mut connection = match &path {
        Some(path) => Connection::open(path),
        None => Connection::open_in_memory(),
    }
    .map_err(database)?;
    configure(&connection).map_err(database)?;
    migrate(&mut connection, &shown)?;
    let mut session = Session::new(connection, options);
    let last_record = session.recover().map_err(|error| OpenError::Database {
        path: shown.clone(),
        source: BackendError::new(error),
    })?;
    Ok(Open {
        session,
        file_lock,
        last_record,
    })
}

/// Takes the lock on the side file. The system releases it when the process dies, however it dies.
fn lock(path: &Path) -> Result<FileLock, OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        std::fs::create_dir_all(directory).map_err(io)?;
    }
    let mut side = path.as_os_str().to_owned();
    side.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(side))
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // Others may look at the file with sqlite3; wait for them.
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // Readers do not hold up the writer, and a commit is one append.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Each commit is on disk before it is confirmed. In WAL mode NORMAL would lose the last ones with the power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let database = |error: rusqlite::Error| OpenError::Database {
        path: path.to_owned(),
        source: BackendError::new(error),
    };
    let number = |connection: &Connection, pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
    };
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = number(connection, "user_version").map_err(database)?;
    let application = number(connection, "application_id").map_err(database)?;
    let tables: i64 = connection
        .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(database)?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (version, step) in (1_i64..).zip(MIGRATIONS) {
        if version > found {
            let transaction = connection.transaction().map_err(database)?;
            transaction.execute_batch(step).map_err(database)?;
            transaction
                .pragma_update(None, "application_id", APPLICATION_ID)
                .map_err(database)?;
            transaction
                .pragma_update(None, "user_version", version)
                .map_err(database)?;
            transaction.commit().map_err(database)?;
        }
    }
    Ok(())
}

impl Session {
    /// Takes back what a dead process held: nobody else can be alive, since the file is locked. Returns the offset of the journal's
    /// last record.
    fn recover(&mut self) -> Result<u64, StoreError> {
        self.execute("BEGIN IMMEDIATE", [])?;
        let lost = self.take_back_all()?;
        let readable = self.retry_unreadable()?;
        self.end_all_leases()?;
        self.prune_journal()?;
        self.execute("COMMIT", [])?;
        if lost > 0 || readable > 0 {
            tracing::info!(lost, readable, "took back what the last process had not settled");
        }
        self.touched = super::session::Touched::default();
        self.last_record()
    }
}
