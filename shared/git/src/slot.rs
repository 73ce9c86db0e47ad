//! What all handles of one mirror share: its directory, its turn, its open repositories.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use git2::{Oid, Repository, RepositoryInitOptions};
use lockflight_promotion::RepoId;

use crate::mirror::{Counters, MirrorFailure};
use crate::objects::{Missing, Objects};
use crate::read::ReadError;

/// Tells the git program that what is missing was left out on purpose. The remote has no address: git is not to bring it by itself.
const PARTIAL: &str = "remote.lockflight.promisor";

/// So many repositories are kept open; opening one costs more than most reads.
const MOST_OPEN: usize = 4;

/// After so many uses a repository is opened anew: libgit2 remembers what it has read.
const MOST_USES: u32 = 256;

/// Of so many commits it is remembered what they are made of.
const MOST_REMEMBERED: usize = 2_048;

/// So many trees are remembered as brought from other repositories.
const MOST_FOREIGN: usize = 65_536;

/// A server that spoke version 2 has to speak something else so often, and for so long, before it is believed.
const FEW_ANSWERS: u32 = 5;
const SHORT_TIME: Duration = Duration::from_mins(2);

/// What all handles of one repository share.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) repo: RepoId,
    pub(crate) dir: PathBuf,
    /// Held while the directory is written to by more than one file.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Counts the directories that have stood here; `damaged` is the number of the last that was found damaged.
    generation: AtomicU64,
    damaged: AtomicU64,
    /// Counts how often packs came or were exchanged: only then has an open repository to look at the pack directory again.
    packs: AtomicU64,
    /// Whether this process has looked for what a killed one left behind.
    swept: AtomicBool,
    open: Mutex<Vec<Opened>>,
    /// Every reader has a part of it while it reads; another one takes its place when packs are exchanged.
    readers: Mutex<Arc<()>>,
    made: Mutex<Made>,
    foreign: Mutex<Foreign>,
    /// Held while it is written down where history ends.
    ends: Mutex<()>,
    /// Since when the server has not spoken version 2, and how often that was seen.
    without_version_2: Mutex<Option<(Instant, u32)>>,
    pub(crate) usage: Counters,
}

/// A repository that is open.
struct Opened {
    repo: Repository,
    is_partial: bool,
    generation: u64,
    packs: u64,
    uses: u32,
    /// When it was used last.
    kept: Instant,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("generation", &self.generation)
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

impl Opened {
    fn run<T, E: From<ReadError>>(
        &self,
        work: impl Fn(&Objects<'_>) -> Result<T, E>,
    ) -> (Result<T, E>, Missing) {
        match Objects::new(&self.repo, self.is_partial) {
            Ok(objects) => {
                let result = work(&objects);
                (result, objects.into_missing())
            }
            Err(error) => (Err(E::from(error)), Missing::default()),
        }
    }
}

fn is_partial(repo: &Repository) -> bool {
    repo.config()
        .and_then(|config| config.get_bool(PARTIAL))
        .unwrap_or(false)
}

/// How much of the remote a mirror holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All that its branches refer to.
    Complete,
    /// What was needed so far.
    Partial,
}

/// What the last commits that were made here are made of.
#[derive(Debug, Default)]
struct Made {
    objects: HashMap<Oid, BTreeSet<Oid>>,
    order: VecDeque<Oid>,
}

/// The trees that were brought from other repositories last.
#[derive(Debug, Default)]
struct Foreign {
    trees: HashSet<Oid>,
    order: VecDeque<Oid>,
}

impl Slot {
    pub(crate) fn new(repo: RepoId, root: &Path) -> Self {
        Self {
            repo,
            dir: root.join(format!("{repo}.git")),
            turn: tokio::sync::Mutex::new(()),
            generation: AtomicU64::new(1),
            damaged: AtomicU64::new(0),
            packs: AtomicU64::new(0),
            swept: AtomicBool::new(false),
            open: Mutex::default(),
            readers: Mutex::default(),
            made: Mutex::default(),
            foreign: Mutex::default(),
            ends: Mutex::default(),
            without_version_2: Mutex::default(),
            usage: Counters::default(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn report_damage(&self, generation: u64) {
        self.damaged.fetch_max(generation, Ordering::AcqRel);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire) >= self.generation()
    }

    /// To be called after packs came or were exchanged.
    pub(crate) fn packs_changed(&self) {
        self.packs.fetch_add(1, Ordering::AcqRel);
    }

    /// Runs `work` on what is here, and tells what it missed. Blocks.
    pub(crate) fn look<T, E>(&self, work: impl Fn(&Objects<'_>) -> Result<T, E>) -> (Result<T, E>, Missing)
    where
        E: From<ReadError> + MirrorFailure,
    {
        let _reading = self.readers().clone();
        let is_damage = |result: &Result<T, E>| result.as_ref().err().is_some_and(MirrorFailure::is_damage);
        if let Some(opened) = self.take_open() {
            let (result, missing) = opened.run(&work);
            if !is_damage(&result) {
                self.keep_open(opened);
                return (result, missing);
            }
            // A repository that was open for a while may hold on to packs that were exchanged: a new one decides.
        }
        let generation = self.generation();
        let opened = match self.open() {
            Ok(opened) => opened,
            Err(error) => return (Err(E::from(error)), Missing::default()),
        };
        let (result, missing) = opened.run(&work);
        if is_damage(&result) {
            self.report_damage(generation);
        } else {
            self.keep_open(opened);
        }
        (result, missing)
    }

    fn open(&self) -> Result<Opened, ReadError> {
        let (generation, packs) = (self.generation(), self.packs.load(Ordering::Acquire));
        let repo = Repository::open_bare(&self.dir).map_err(ReadError::Open)?;
        let is_partial = is_partial(&repo);
        Ok(Opened {
            repo,
            is_partial,
            generation,
            packs,
            uses: 0,
            kept: Instant::now(),
        })
    }

    /// To be called when new packs stand beside the old ones. Whoever reads from now on finds them; nobody needs the old ones any more
    /// when the answer is shared with nobody.
    pub(crate) fn packs_exchanged(&self) -> Arc<()> {
        self.packs_changed();
        // They would keep the old packs on the disk.
        self.opened().clear();
        std::mem::take(&mut *self.readers())
    }

    fn readers(&self) -> MutexGuard<'_, Arc<()>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, Vec<Opened>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes repositories that nobody has used for so long.
    pub(crate) fn close_idle(&self, idle: Duration) {
        self.opened().retain(|opened| opened.kept.elapsed() < idle);
    }

    fn take_open(&self) -> Option<Opened> {
        let mut opened = self.opened().pop()?;
        if opened.generation != self.generation() {
            return None;
        }
        let packs = self.packs.load(Ordering::Acquire);
        if opened.packs != packs {
            opened.repo.odb().and_then(|odb| odb.refresh()).ok()?;
            opened.packs = packs;
        }
        Some(opened)
    }

    /// Only of partial mirrors: git itself changes the others, and does not say when.
    fn keep_open(&self, mut opened: Opened) {
        opened.uses += 1;
        opened.kept = Instant::now();
        if !opened.is_partial || opened.uses >= MOST_USES {
            return;
        }
        let mut all = self.opened();
        if all.len() < MOST_OPEN && opened.generation == self.generation() {
            all.push(opened);
        }
    }

    /// Remembers what a commit that was made here is made of.
    pub(crate) fn remember(&self, commit: Oid, objects: BTreeSet<Oid>) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.objects.insert(commit, objects).is_none() {
            made.order.push_back(commit);
        }
        if made.order.len() > MOST_REMEMBERED
            && let Some(oldest) = made.order.pop_front()
        {
            made.objects.remove(&oldest);
        }
    }

    /// What a commit that was made here is made of, if that is remembered.
    pub(crate) fn remembered(&self, commit: Oid) -> Option<BTreeSet<Oid>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.objects.get(&commit).cloned()
    }

    /// Waits until nobody else writes down where history ends. Blocks.
    pub(crate) fn writes_ends(&self) -> MutexGuard<'_, ()> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server speaks version 2.
    pub(crate) fn has_version_2(&self) {
        *self.doubts() = None;
    }

    /// The server did not speak version 2. Whether that is too new to be believed.
    pub(crate) fn bears_without_version_2(&self, now: Instant) -> bool {
        let mut doubts = self.doubts();
        let (since, seen) = doubts.map_or((now, 1), |(since, seen)| (since, seen.saturating_add(1)));
        *doubts = Some((since, seen));
        seen <= FEW_ANSWERS || now.saturating_duration_since(since) < SHORT_TIME
    }

    fn doubts(&self) -> MutexGuard<'_, Option<(Instant, u32)>> {
        self.without_version_2
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that trees were brought from another repository. Where that is forgotten, the server says what a push lacks.
    pub(crate) fn note_foreign(&self, trees: impl IntoIterator<Item = Oid>) {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        for tree in trees {
            if foreign.trees.insert(tree) {
                foreign.order.push_back(tree);
            }
        }
        while foreign.order.len() > MOST_FOREIGN
            && let Some(oldest) = foreign.order.pop_front()
        {
            foreign.trees.remove(&oldest);
        }
    }

    /// Whether a tree is remembered as one that was brought from another repository.
    pub(crate) fn is_foreign(&self, tree: Oid) -> bool {
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        foreign.trees.contains(&tree)
    }

    /// Makes sure that a usable bare repository stands in the directory, complete or partial. Blocks; call it with the turn taken.
    pub(crate) fn prepare(&self, kind: Kind) -> Result<Repository, PrepareError> {
        if self.is_damaged() {
            tracing::warn!(repo = %self.repo, "the mirror is damaged and is made anew");
            self.discard()?;
        }
        if !self.swept.swap(true, Ordering::AcqRel) {
            sweep(&self.dir)?;
        }
        if self.dir.exists() {
            match Repository::open_bare(&self.dir) {
                Ok(repo) => match (kind, is_partial(&repo)) {
                    (Kind::Partial, true) | (Kind::Complete, false) => return Ok(repo),
                    // All that it refers to is here, which does no harm.
                    (Kind::Partial, false) => {
                        repo.config()?.set_bool(PARTIAL, true)?;
                        return Ok(repo);
                    }
                    (Kind::Complete, true) => {
                        tracing::info!(repo = %self.repo, "the mirror is partial, which its remote does not allow any more; it is made anew");
                        self.discard()?;
                    }
                },
                Err(error) => {
                    tracing::warn!(repo = %self.repo, %error, "the mirror cannot be opened and is made anew");
                    self.discard()?;
                }
            }
        }
        let mut options = RepositoryInitOptions::new();
        options.bare(true).no_reinit(true).external_template(false);
        let repo = Repository::init_opts(&self.dir, &options)?;
        if kind == Kind::Partial {
            repo.config()?.set_bool(PARTIAL, true)?;
        }
        Ok(repo)
    }

    /// The size of all packs. What git fetches it keeps in packs, since it checks every object (`transfer.fsckObjects`). Blocks.
    pub(crate) fn packed_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.dir.join("objects/pack"))? {
            let entry = entry?;
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "pack")
            {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(bytes)
    }

    /// Puts the directory aside in one step, so that nobody sees half of it, and removes it.
    fn discard(&self) -> io::Result<()> {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel);
        // They would keep the old packs on the disk. Whoever comes to keep another one sees that its time is over.
        self.opened().clear();
        let aside = self.dir.with_file_name(format!(
            "discarded-{}-{}-{generation}",
            self.repo,
            std::process::id()
        ));
        match fs::rename(&self.dir, &aside) {
            // What cannot be removed now is removed at the next start.
            Ok(()) => {
                if let Err(error) = fs::remove_dir_all(&aside) {
                    tracing::warn!(repo = %self.repo, %error, "a damaged mirror could not be removed");
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The mirror's directory could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The file system failed.
    #[error("the mirror's directory cannot be made or replaced; check the disk and its permissions")]
    Io(#[from] io::Error),
    /// libgit2 failed.
    #[error("the mirror's directory cannot be made a repository")]
    Git(#[from] git2::Error),
}

/// Removes the lock files and half-received packs of a process that was killed. Only this process uses the root, so whatever is
/// there when it begins is stale.
fn sweep(dir: &Path) -> io::Result<()> {
    fn remove(dir: &Path, deep: bool, stale: &dyn Fn(&[u8]) -> bool) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let is_dir = entry.file_type()?.is_dir();
            match (stale(entry.file_name().as_encoded_bytes()), is_dir) {
                (true, true) => fs::remove_dir_all(entry.path())?,
                (true, false) => fs::remove_file(entry.path())?,
                (false, true) if deep => remove(&entry.path(), deep, stale)?,
                (false, _) => {}
            }
        }
        Ok(())
    }
    let lock = |name: &[u8]| name.ends_with(b".lock");
    let half = |name: &[u8]| name.starts_with(b"tmp_") || name.starts_with(b"incoming-");
    remove(dir, false, &lock)?;
    remove(&dir.join("refs"), true, &lock)?;
    remove(&dir.join("objects"), false, &half)?;
    remove(&dir.join("objects/pack"), false, &half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_version_2_is_believed_when_it_stays_so() {
        let home = tempfile::tempdir().unwrap();
        let slot = Slot::new(RepoId::new(1), home.path());
        let begin = Instant::now();
        let minute = Duration::from_mins(1);
        for _ in 0..100 {
            assert!(slot.bears_without_version_2(begin), "however many at once");
        }
        assert!(slot.bears_without_version_2(begin + minute));
        assert!(!slot.bears_without_version_2(begin + 3 * minute));
        slot.has_version_2();
        for times in 0..FEW_ANSWERS {
            let late = begin + times * 10 * minute;
            assert!(slot.bears_without_version_2(late), "however seldom");
        }
        assert!(!slot.bears_without_version_2(begin + 100 * minute));
    }

    #[test]
    fn an_open_repository_is_closed_when_it_is_idle_and_when_its_mirror_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let slot = Slot::new(RepoId::new(1), home.path());
        drop(slot.prepare(Kind::Partial).unwrap());
        let look = || slot.look(|_objects| Ok::<_, ReadError>(())).0.unwrap();
        look();
        slot.close_idle(Duration::from_hours(1));
        assert_eq!(slot.opened().len(), 1);
        slot.close_idle(Duration::ZERO);
        assert_eq!(slot.opened().len(), 0);
        look();
        slot.report_damage(slot.generation());
        drop(slot.prepare(Kind::Partial).unwrap());
        assert_eq!(slot.opened().len(), 0);
        look();
        assert_eq!(slot.opened().len(), 1);
    }
}
