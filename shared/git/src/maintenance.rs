//! Looking after mirrors that live long: few packs, few loose objects, and not more of the disk than was given.
//!
//! Guarantees: nobody waits for it longer than it takes to rename or remove a few files, since packs are written beside all other
//! work and a mirror's turn is taken for their exchange alone. The new pack stands before the old ones go, and those go when the last reader
//! that knows them has ended, so everybody finds each object in one or the other. A mirror that anybody has a handle of is not
//! removed. What is interrupted is either not begun or can be swept away.
//!
//! No commit-graph is written: ancestry is read from the commits themselves (`history.rs`), and git has no use for one where history
//! was cut off.
//!
//! No object is ever dropped here: a mirror is a part of a repository whose rest was promised, and holds commits that no branch has yet.
//!
//! Tested in `tests/git/upkeep.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use git2::Oid;
use lockflight_promotion::RepoId;

use crate::blocking::blocking;
use crate::child::{Job, Place};
use crate::mirrors::Mirrors;
use crate::packs::{self, Merge, Pack};
use crate::slot::Slot;
use crate::transport_error::TransportError;

/// The directory below a mirror's objects in which a pack is made. The name is one that is swept away at the next start.
const STAGING: &str = "incoming-upkeep";

/// A half-received pack that nobody has written to for so long was given up.
const GIVEN_UP: Duration = Duration::from_secs(3_600);

/// No read takes longer.
const LONGEST_READ: Duration = Duration::from_mins(5);

/// A repository that nobody has read for so long is closed.
const IDLE: Duration = Duration::from_mins(5);

/// How often it is looked whether the last reader has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What one round of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Mirrors of which packs or loose objects were put together.
    pub packed: usize,
    /// Mirrors that were removed to make room.
    pub evicted: usize,
    /// The bytes of all mirrors afterwards.
    pub bytes: u64,
}

/// Why a mirror could not be looked after. Nothing is lost by it.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error("its files cannot be read or exchanged")]
    Io(#[from] io::Error),
    #[error("its packs could not be put together")]
    Git(#[from] TransportError),
    #[error("git put {found} objects into the new pack, where {expected} were to be")]
    Incomplete { expected: usize, found: usize },
}

impl Mirrors {
    /// Puts packs and loose objects together where there are many, and removes the mirrors that were not used for the longest time
    /// while all together are larger than [`crate::MirrorsConfig::max_bytes`].
    ///
    /// To be called now and then, beside all other work. Of a mirror that is being fetched or pushed at the moment, nothing is done
    /// unless it has become urgent. Failures are logged and do no harm.
    #[tracing::instrument(skip_all)]
    pub async fn maintain(&self) -> Upkeep {
        // Two rounds at a time would do the same work twice.
        let _round = self.shared.upkeep.lock().await;
        let mut done = Upkeep::default();
        for slot in self.shared.slots() {
            slot.close_idle(IDLE);
            match self.tidy(&slot).await {
                Ok(true) => done.packed += 1,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(repo = %slot.repo, error = &error as &dyn std::error::Error, "a mirror could not be packed");
                }
            }
        }
        let mirrors = self.clone();
        let evicted = blocking(move || mirrors.make_room()).await;
        match evicted {
            Ok((evicted, bytes)) => {
                done.evicted = evicted;
                done.bytes = bytes;
            }
            Err(error) => tracing::warn!(%error, "the sizes of the mirrors cannot be told"),
        }
        done
    }

    /// Puts together what has become many; whether there was anything to do.
    async fn tidy(&self, slot: &Arc<Slot>) -> Result<bool, UpkeepError> {
        if slot.is_damaged() {
            return Ok(false);
        }
        let generation = slot.generation();
        let dir = slot.dir.clone();
        let merges = blocking(move || survey(&dir)).await?;
        let urgent = |merge: &Merge| {
            merge.packs.len() > 4 * packs::MOST_PACKS || merge.loose.len() > 4 * packs::MOST_LOOSE
        };
        match slot.turn.try_lock() {
            Ok(_turn) => {
                let dir = slot.dir.clone();
                blocking(move || remove_given_up(&dir)).await?;
            }
            Err(_) if merges.iter().any(urgent) => {}
            Err(_) => return Ok(false),
        }
        let mut changed = false;
        for merge in merges {
            changed |= self.merge(slot, generation, merge).await?;
        }
        Ok(changed)
    }

    /// Writes one pack of the objects, and exchanges it for what they were in before; false: the mirror was replaced meanwhile.
    async fn merge(&self, slot: &Arc<Slot>, generation: u64, merge: Merge) -> Result<bool, UpkeepError> {
        let started = Instant::now();
        let staging = slot.dir.join("objects").join(STAGING);
        let (dir, wanted) = (staging.clone(), merge.clone());
        let ids = blocking(move || {
            remove(&dir)?;
            fs::create_dir(&dir)?;
            ids(&wanted)
        })
        .await?;
        let expected = ids.len();
        let input = ids
            .iter()
            .fold(String::with_capacity(expected * 41), |mut text, id| {
                text.push_str(&id.to_string());
                text.push('\n');
                text
            });
        let base = format!("objects/{STAGING}/pack");
        // The objects are listed, so that git follows no reference: what they refer to may well be missing.
        let arguments = ["pack-objects", "--quiet", "--no-write-bitmap-index", "--", &base];
        let finished = self
            .shared
            .transport
            .children()
            .run(Job {
                place: Place::Mirror(&slot.dir),
                arguments: &arguments,
                settings: &[],
                secret: None,
                input: input.into_bytes(),
            })
            .await;
        let made = match finished {
            Ok(finished) if finished.status.success() => Ok(Pack {
                stem: staging.join(format!("pack-{}", finished.stdout.trim())),
                objects: 0,
                promised: merge.promised,
            }),
            Ok(finished) => Err(finished.into_error()),
            Err(error) => Err(error),
        };
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                if matches!(error, TransportError::MirrorDamaged { .. }) {
                    slot.report_damage(generation);
                }
                blocking(move || remove(&staging)).await?;
                return Err(error.into());
            }
        };
        let exchanged = self.exchange(slot, generation, made, expected, &merge).await;
        blocking(move || remove(&staging)).await?;
        tracing::info!(
            repo = %slot.repo,
            packs = merge.packs.len(),
            loose = merge.loose.len(),
            objects = expected,
            pack_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "a mirror's objects were put together"
        );
        exchanged
    }

    /// Puts the new pack in its place, and removes what it stands for when nobody reads that any more.
    async fn exchange(
        &self,
        slot: &Arc<Slot>,
        generation: u64,
        made: Pack,
        expected: usize,
        before: &Merge,
    ) -> Result<bool, UpkeepError> {
        // Only whoever has the turn replaces a mirror.
        let stands = || slot.generation() == generation && !slot.is_damaged();
        let turn = slot.turn.lock().await;
        if !stands() {
            return Ok(false);
        }
        let dir = slot.dir.clone();
        let place = blocking(move || install(&dir, &made, expected)).await?;
        let readers = slot.packs_exchanged();
        drop(turn);

        let gone = async {
            while Arc::strong_count(&readers) > 1 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(LONGEST_READ, gone).await.is_err() {
            // They go with the next round.
            tracing::warn!(repo = %slot.repo, "somebody reads a mirror for a very long time, so its old packs stay");
            return Ok(true);
        }
        let turn = slot.turn.lock().await;
        if stands() {
            let before = before.clone();
            blocking(move || remove_replaced(&place, &before)).await?;
        }
        drop(turn);
        Ok(true)
    }

    /// Removes mirrors until all together fit; how many, and what is left in bytes. Blocks.
    fn make_room(&self) -> io::Result<(usize, u64)> {
        let mut mirrors = Vec::new();
        for dir in packs::files(&self.shared.root)? {
            let Some(repo) = repo_of(&dir) else {
                continue;
            };
            let mut size = Size::default();
            size.add(&dir)?;
            mirrors.push((self.shared.used(repo), size.newest, repo, dir, size.bytes));
        }
        // Those that this process never used come first, in the order in which they were last written to.
        mirrors.sort();
        // The one that was used last is what the room is for.
        let last = mirrors.pop();
        let mut bytes =
            mirrors.iter().map(|(.., bytes)| bytes).sum::<u64>() + last.map_or(0, |(.., bytes)| bytes);
        let mut evicted = 0;
        for (_, _, repo, dir, size) in mirrors {
            if self.shared.max_bytes.is_none_or(|most| bytes <= most) {
                break;
            }
            match self.shared.evict(repo, &dir) {
                Ok(true) => {
                    tracing::info!(%repo, bytes = size, "a mirror was removed to make room for others");
                    evicted += 1;
                    bytes = bytes.saturating_sub(size);
                }
                Ok(false) => {}
                // There may be room without it.
                Err(error) => {
                    tracing::warn!(%repo, %error, "a mirror could not be removed to make room for others");
                }
            }
        }
        Ok((evicted, bytes))
    }
}

/// The repository whose mirror has that directory.
fn repo_of(dir: &Path) -> Option<RepoId> {
    let number = dir.file_name()?.to_str()?.strip_suffix(".git")?;
    number.parse().ok().map(RepoId::new)
}

/// What is worth putting together. A mirror that was not fetched yet has nothing.
fn survey(dir: &Path) -> io::Result<Vec<Merge>> {
    Ok(packs::merges(&packs::packs(dir)?, packs::loose(dir)?))
}

fn ids(merge: &Merge) -> io::Result<BTreeSet<Oid>> {
    let mut ids: BTreeSet<Oid> = merge.loose.iter().map(|loose| loose.id).collect();
    for pack in &merge.packs {
        ids.extend(pack.ids()?);
    }
    Ok(ids)
}

/// Puts the new pack in its place, and gives that place.
fn install(dir: &Path, made: &Pack, expected: usize) -> Result<PathBuf, UpkeepError> {
    let found = made.ids()?.len();
    if found != expected {
        return Err(UpkeepError::Incomplete { expected, found });
    }
    let home = dir.join("objects/pack");
    let place = |path: &Path| -> PathBuf { home.join(path.file_name().unwrap_or_default()) };
    if made.promised {
        fs::write(place(&made.file("promisor")), "")?;
    }
    // A pack counts from the moment on in which its index is there.
    for ending in ["rev", "pack", "idx"] {
        let from = made.file(ending);
        if from.exists() {
            fs::rename(&from, place(&from))?;
        }
    }
    Ok(place(&made.stem))
}

/// Removes what the pack at `place` stands for.
fn remove_replaced(place: &Path, before: &Merge) -> io::Result<()> {
    for pack in before.packs.iter().filter(|pack| pack.stem != place) {
        for ending in ["idx", "rev", "bitmap", "mtimes", "pack", "promisor"] {
            gone(fs::remove_file(pack.file(ending)))?;
        }
    }
    for loose in &before.loose {
        gone(fs::remove_file(&loose.path))?;
    }
    Ok(())
}

/// Removes packs that a killed child or a broken connection left half-received.
fn remove_given_up(dir: &Path) -> io::Result<()> {
    for path in packs::files(&dir.join("objects/pack"))? {
        let half = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"tmp_"));
        if !half {
            continue;
        }
        let age = match fs::metadata(&path).and_then(|about| about.modified()) {
            Ok(written) => SystemTime::now().duration_since(written).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if age > GIVEN_UP {
            gone(fs::remove_file(&path))?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    gone(fs::remove_dir_all(dir))
}

/// What is gone already need not be removed.
pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The size of a directory with all that is in it.
#[derive(Default)]
struct Size {
    bytes: u64,
    newest: Option<SystemTime>,
}

impl Size {
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let about = match fs::symlink_metadata(path) {
            Ok(about) => about,
            // Others work here all the while.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.newest = self.newest.max(about.modified().ok());
        if about.is_dir() {
            for inside in packs::files(path)? {
                self.add(&inside)?;
            }
        } else {
            self.bytes += about.len();
        }
        Ok(())
    }
}
