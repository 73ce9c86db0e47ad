//! A pack on its way into an object database.
//!
//! What may interleave: the network's side runs as a task, the disk's on a blocking thread, with a few pieces between them. Where either fails, so does the
//! other; where the task is dropped, the thread notices at the next piece or object and removes what it wrote.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use git2::{ErrorClass, Indexer};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::http::Deadline;
use super::packets::{Packets, bad};
use super::scan::{BadPack, Bounds, Scanner};
use crate::blocking::blocking;
use crate::transport_error::TransportError;

/// How many pieces may wait for the disk.
const WAITING: usize = 8;

/// What the network's side says.
enum Piece {
    Data(Bytes),
    /// The pack is complete, as far as the server is concerned. Without it, it is not.
    End,
}

/// Says that nobody waits for the pack any more, when it is dropped.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes one pack.
pub(super) struct Receiver {
    objects: PathBuf,
    bounds: Bounds,
    deadline: Deadline,
}

impl Receiver {
    pub(super) fn new(repository: &Path, bounds: Bounds, deadline: Deadline) -> Self {
        Self {
            objects: repository.join("objects"),
            bounds,
            deadline,
        }
    }

    /// Brings the pack into the object database, and says how many objects it holds.
    pub(super) async fn take(self, packets: &mut Packets<'_>) -> Result<u32, TransportError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let given_up = GivenUp(Arc::new(AtomicBool::new(false)));
        let seen_given_up = Arc::clone(&given_up.0);
        let deadline = self.deadline;
        let stored = blocking(move || self.store(receiver, &seen_given_up));
        let fed = async move {
            while let Some(part) = packets.pack_part().await? {
                if !feed(&sender, Piece::Data(part), deadline).await? {
                    return Ok(());
                }
            }
            feed(&sender, Piece::End, deadline).await?;
            Ok(())
        };
        let (fed, stored): (Result<(), TransportError>, _) = tokio::join!(fed, stored);
        drop(given_up);
        match stored {
            // Where the server broke off, that is the cause, and not that the disk's side got no end.
            Ok(None) => {
                fed?;
                Err(bad("the pack broke off"))
            }
            Ok(Some(objects)) => Ok(objects),
            Err(error) => Err(error),
        }
    }

    /// The disk's side. None: the pack did not come to its end, and nothing is left of it. Blocks.
    fn store(
        &self,
        mut pieces: mpsc::Receiver<Piece>,
        given_up: &Arc<AtomicBool>,
    ) -> Result<Option<u32>, TransportError> {
        let mut scanner = Scanner::new(self.bounds);
        // The head of the pack decides whether there is anything to keep.
        let mut head = Vec::new();
        let objects = loop {
            match pieces.blocking_recv() {
                Some(Piece::Data(part)) => {
                    scanner.read(&part).map_err(|bad| self.refused(bad))?;
                    head.extend_from_slice(&part);
                }
                Some(Piece::End) if scanner.is_complete() => return Ok(Some(0)),
                Some(Piece::End) => return Err(bad("the pack ends in its head")),
                None => return Ok(None),
            }
            if let Some(objects) = scanner.objects()
                && objects > 0
            {
                break objects;
            }
        };
        let staging = staging_in(&self.objects)?;
        let (until, given_up) = (self.deadline.until.into_std(), Arc::clone(given_up));
        // Never with an object database to take bases of deltas from: a hostile pack of that kind can keep libgit2 busy for ever, and none was asked for.
        let mut indexer =
            Indexer::new(None, staging.path(), 0, false).map_err(|error| self.indexed(&error))?;
        indexer.progress(move |_progress| !given_up.load(Ordering::Relaxed) && Instant::now() < until);
        let mut add = |part: &[u8]| {
            indexer.write_all(part).map_err(|error| {
                match error
                    .get_ref()
                    .and_then(|inner| inner.downcast_ref::<git2::Error>())
                {
                    Some(inner) => self.indexed(inner),
                    None => written(error),
                }
            })
        };
        add(&head)?;
        drop(head);
        loop {
            match pieces.blocking_recv() {
                Some(Piece::Data(part)) => {
                    scanner.read(&part).map_err(|bad| self.refused(bad))?;
                    add(&part)?;
                }
                Some(Piece::End) if scanner.is_complete() => break,
                Some(Piece::End) => return Err(bad("the pack ends too early")),
                None => return Ok(None),
            }
        }
        let name = indexer.commit().map_err(|error| self.indexed(&error))?;
        install_in(&staging, &self.objects, &name, true)?;
        Ok(Some(objects))
    }

    fn refused(&self, error: BadPack) -> TransportError {
        match error {
            BadPack::Malformed(_) => bad(error.to_string()),
            BadPack::TooManyObjects(_) => TransportError::TooLarge {
                what: "objects in one pack",
                most: self.bounds.objects.into(),
            },
            BadPack::TooLargeObject(_) => TransportError::TooLarge {
                what: "bytes in one object",
                most: self.bounds.object,
            },
        }
    }

    /// What a failure of libgit2 means.
    fn indexed(&self, error: &git2::Error) -> TransportError {
        let detail = error.message().to_owned();
        match error.class() {
            // libgit2 keeps the text of the system's error, and not its number.
            _ if is_full(&detail) => TransportError::DiskFull { detail },
            ErrorClass::Callback if Instant::now() >= self.deadline.until.into_std() => {
                self.deadline.timed_out()
            }
            ErrorClass::Os | ErrorClass::Filesystem | ErrorClass::NoMemory => TransportError::Other {
                status: "a pack could not be written".to_owned(),
                detail,
            },
            _ => bad(format!("the pack is damaged: {detail}")),
        }
    }
}

/// Hands a piece over. False: the disk's side has ended.
async fn feed(
    sender: &mpsc::Sender<Piece>,
    piece: Piece,
    deadline: Deadline,
) -> Result<bool, TransportError> {
    let handed = tokio::time::timeout_at(deadline.until, sender.send(piece)).await;
    Ok(handed.map_err(|_elapsed| deadline.timed_out())?.is_ok())
}

/// A directory for a pack on its way into a repository. Should it be left behind, the mirror's sweep knows its name.
pub(crate) fn staging(repository: &Path) -> Result<TempDir, TransportError> {
    staging_in(&repository.join("objects"))
}

fn staging_in(objects: &Path) -> Result<TempDir, TransportError> {
    tempfile::Builder::new()
        .prefix("tmp_wire-")
        .tempdir_in(objects)
        .map_err(written)
}

/// Moves a complete pack into a repository, with a mark where what it refers to may be missing (`promised`).
pub(crate) fn install(
    staging: &TempDir,
    repository: &Path,
    name: &str,
    promised: bool,
) -> Result<(), TransportError> {
    install_in(staging, &repository.join("objects"), name, promised)
}

fn install_in(staging: &TempDir, objects: &Path, name: &str, promised: bool) -> Result<(), TransportError> {
    let packs = objects.join("pack");
    install_files(staging, &packs, &format!("pack-{name}"), promised).map_err(written)
}

/// The index comes last, since it is what packs are found by.
fn install_files(staging: &TempDir, packs: &Path, name: &str, promised: bool) -> io::Result<()> {
    fs::create_dir_all(packs)?;
    let place = |dir: &Path, extension: &str| dir.join(format!("{name}.{extension}"));
    if place(packs, "idx").exists() {
        // The same pack came before.
        return Ok(());
    }
    fs::rename(place(staging.path(), "pack"), place(packs, "pack"))?;
    if promised {
        fs::write(place(packs, "promisor"), b"")?;
    }
    fs::rename(place(staging.path(), "idx"), place(packs, "idx"))
}

/// What a failure of the file system means.
pub(crate) fn written(error: io::Error) -> TransportError {
    let detail = error.to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            TransportError::DiskFull { detail }
        }
        io::ErrorKind::NotFound => TransportError::MirrorDamaged { detail },
        _ => TransportError::Other {
            status: "a pack could not be written".to_owned(),
            detail,
        },
    }
}

fn is_full(message: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "File too large"]
        .iter()
        .any(|text| message.contains(text))
}
