//! Bringing what a partial mirror was made without.
//!
//! A partial mirror is asked of servers that speak version 2 of git's protocol. It has the commits that it met, and of trees and blobs
//! those that were looked at or came with a new commit. Nothing of it is a promise: whatever is missing is asked for when somebody
//! needs it, all that one look misses in one go.
//!
//! The server is told one commit that is here, as if it were complete. So it sends what is new since then and no more, however far back
//! the new commits have left the line; what is older than our beginning is asked for when a question about history depends on it. A head that is
//! older itself does not come that way, and one that has nothing to do with that commit comes with too much: both are begun anew.
//!
//! `$GIT_DIR/shallow` names the commits whose parents are not here. It is for the git program alone, and is written after the pack that it tells of and
//! before the ref that leads there: whatever a kill leaves behind is a mirror that lacks something, and that is nothing special here.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use git2::Oid;

use crate::blocking::blocking;
use crate::history;
use crate::mirror::Mirror;
use crate::objects::{Missing, Objects};
use crate::read::ReadError;
use crate::transport_error::TransportError;
use crate::wire::{Deepen, Filter, Received, Request, Speech};

/// How many commits are brought at a time where a question leads beyond what is here, along each line of parents.
const STEPS: [u32; 5] = [8, 64, 512, 4_096, 65_536];

/// No work brings more often. Each time is one more level of directories, or one more step into history.
const MOST_ROUNDS: usize = 256;

/// How a remote is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In this process, for a partial mirror. Whether the server can leave out trees and blobs.
    Wire { filter: bool },
    /// By the git program, for a complete mirror.
    Child,
}

/// How far one piece of work has come with bringing what it misses.
#[derive(Debug, Default)]
pub(crate) struct Bringing {
    /// Whether whoever does it has the turn already.
    in_turn: bool,
    /// Whether nothing is to be brought.
    nothing: bool,
    rounds: usize,
    steps: usize,
    last: Option<Missing>,
}

impl Bringing {
    pub(crate) fn taking_turns() -> Self {
        Self::default()
    }

    /// For those who have the turn.
    pub(crate) fn in_turn() -> Self {
        Self {
            in_turn: true,
            ..Self::default()
        }
    }

    /// What is not here is not looked for.
    pub(crate) fn nothing() -> Self {
        Self {
            nothing: true,
            ..Self::default()
        }
    }

    /// How far to go into history this time.
    fn step(&mut self, missing: &Missing) -> Result<Option<NonZeroU32>, ReadError> {
        if self.nothing || self.rounds >= MOST_ROUNDS {
            return Err(ReadError::Incomplete);
        }
        self.rounds += 1;
        if self.last.as_ref() == Some(missing) {
            return Err(ReadError::Bring(Box::new(TransportError::NoSuchObject {
                detail: "it was asked for by its id, and did not come".to_owned(),
            })));
        }
        self.last = Some(missing.clone());
        if missing.commits.is_empty() {
            return Ok(None);
        }
        let step = STEPS.get(self.steps).copied().and_then(NonZeroU32::new);
        self.steps += 1;
        step.map(Some).ok_or(ReadError::Incomplete)
    }
}

impl Mirror {
    /// How this repository's remote is talked to.
    pub(crate) async fn way(&self) -> Result<Way, TransportError> {
        let wire = &self.shared.wire;
        match wire.speech(&self.remote).await? {
            Speech::Version2 { filter } => {
                self.slot.has_version_2();
                Ok(Way::Wire { filter })
            }
            Speech::Other if wire.reaches(&self.remote)? && self.is_partial_here().await => {
                // What is here is of no use to the git program. One odd answer, as of a proxy, is no reason to throw it away.
                if self.slot.bears_without_version_2(Instant::now()) {
                    wire.forget_speech(&self.remote);
                    return Err(TransportError::NoVersion2);
                }
                Ok(Way::Child)
            }
            Speech::Other => Ok(Way::Child),
        }
    }

    async fn is_partial_here(&self) -> bool {
        let looked = self
            .look(Arc::new(|objects: &Objects<'_>| {
                Ok::<_, ReadError>(objects.is_partial())
            }))
            .await;
        looked.0.unwrap_or(false)
    }

    /// Brings what some work has missed.
    pub(crate) async fn bring(&self, bringing: &mut Bringing, missing: Missing) -> Result<(), ReadError> {
        let step = bringing.step(&missing)?;
        let _turn = if bringing.in_turn {
            None
        } else {
            Some(self.slot.turn.lock().await)
        };
        // Another task may have brought it while this one waited.
        let found = self
            .look(Arc::new(move |objects: &Objects<'_>| {
                let mut missing = missing.clone();
                missing.retain(|id| !objects.has(id));
                Ok::<_, ReadError>(missing)
            }))
            .await;
        let missing = found.0?;
        if missing.is_empty() {
            return Ok(());
        }
        self.ask_for(&missing, step).await
    }

    /// Asks for objects in as few requests as possible. Call it with the turn taken.
    pub(crate) async fn ask_for(&self, missing: &Missing, step: Option<NonZeroU32>) -> Result<(), ReadError> {
        let failed = |error| ReadError::Bring(Box::new(error));
        let filter = match self.way().await.map_err(failed)? {
            Way::Wire { filter } => filter,
            Way::Child => return Err(failed(TransportError::NoVersion2)),
        };
        let usage = &self.slot.usage;
        usage
            .lazy_objects
            .fetch_add(missing.len() as u64, Ordering::Relaxed);
        let request = |wants: &[Oid], left_out: Filter, deepen: Option<Deepen>| Request {
            wants: wants.to_vec(),
            deepen,
            filter: filter.then_some(left_out),
            ..Request::default()
        };
        let mut requests = Vec::new();
        let single = Filter::TreeDepth(0);
        for (wants, left_out, deepen) in [
            (&missing.objects, single, None),
            (&missing.whole, Filter::BlobNone, None),
            (&missing.commits, single, step.map(Deepen::To)),
        ] {
            let wants: Vec<Oid> = wants.iter().copied().collect();
            requests.extend(
                wants
                    .chunks(Request::MOST_WANTS)
                    .map(|wants| request(wants, left_out, deepen)),
            );
        }
        let mut shallow = BTreeSet::new();
        for request in requests {
            usage.lazy_fetches.fetch_add(1, Ordering::Relaxed);
            let received = self.receive(&request).await.map_err(failed)?;
            shallow.extend(received.shallow);
        }
        if step.is_some() {
            self.note_ends(shallow).await?;
        }
        Ok(())
    }

    /// Fetches into the mirror, and counts it.
    pub(crate) async fn receive(&self, request: &Request) -> Result<Received, TransportError> {
        let received = self
            .shared
            .wire
            .fetch(&self.remote, &self.slot.dir, request)
            .await?;
        self.slot.packs_changed();
        self.slot
            .usage
            .bytes_received
            .fetch_add(received.bytes, Ordering::Relaxed);
        Ok(received)
    }

    /// Writes down where history ends now: with those of the commits known to be ends, and of `candidates`, whose parents are not here.
    pub(crate) async fn note_ends(&self, candidates: BTreeSet<Oid>) -> Result<(), ReadError> {
        let slot = Arc::clone(&self.slot);
        blocking(move || {
            let generation = slot.generation();
            // Whoever was cancelled while he did the same is still at it, though he has the turn no more.
            let _alone = slot.writes_ends();
            let file = slot.dir.join("shallow");
            let unwritten = |error: io::Error| {
                if error.kind() == io::ErrorKind::StorageFull {
                    let detail = error.to_string();
                    return ReadError::Bring(Box::new(TransportError::DiskFull { detail }));
                }
                slot.report_damage(generation);
                ReadError::Damaged {
                    what: "the file `shallow`".to_owned(),
                    source: git2::Error::from_str(&error.to_string()),
                }
            };
            let before = read_ends(&file).map_err(unwritten)?;
            let all: BTreeSet<Oid> = before.iter().copied().chain(candidates).collect();
            let (ends, _) = slot.look(|objects| {
                let mut ends = BTreeSet::new();
                for commit in &all {
                    if history::is_end(objects, *commit)? {
                        ends.insert(*commit);
                    }
                }
                Ok::<_, ReadError>(ends)
            });
            let ends = ends?;
            if ends != before {
                write_ends(&file, &ends).map_err(unwritten)?;
            }
            Ok(())
        })
        .await
    }
}

fn read_ends(file: &Path) -> io::Result<BTreeSet<Oid>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().filter_map(|line| Oid::from_str(line).ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// All at once, under the name of a lock that the git program knows. Only this process uses the mirror, and one of its tasks at a time comes here, so
/// a lock that is there already is of somebody who is gone.
fn write_ends(file: &Path, ends: &BTreeSet<Oid>) -> io::Result<()> {
    if ends.is_empty() {
        return match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let lock = file.with_extension("lock");
    let mut text = String::with_capacity(ends.len() * 41);
    for end in ends {
        text.push_str(&end.to_string());
        text.push('\n');
    }
    fs::File::create(&lock)?.write_all(text.as_bytes())?;
    fs::rename(lock, file)
}
