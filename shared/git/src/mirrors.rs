//! The root directory of all mirrors of a process.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockflight_promotion::RepoId;
use secrecy::SecretString;

use crate::mirror::{Mirror, Slot};
use crate::transport::Transport;
use crate::wire::Wire;

/// The oldest git that has all that the transport relies on.
const OLDEST_GIT: (u32, u32) = (2, 39);

/// How mirrors are kept, and which addresses git may talk to.
#[derive(Clone, Debug)]
pub struct MirrorsConfig {
    /// The directory that holds the mirrors. It is made when it is missing, and belongs to one process at a time.
    pub root: PathBuf,
    /// The `git` program: a path, or a name that is looked up in `search_path`.
    pub git: PathBuf,
    /// The `PATH` of every child. By default that of this process.
    pub search_path: OsString,
    /// How long one conversation with a remote may take before it is stopped.
    pub timeout: Duration,
    /// Where `http://` is allowed; `https://` always is.
    pub plain_http: PlainHttp,
    /// Whether a repository may be a path on this machine.
    pub allow_file: bool,
    /// The largest pack that one fetch may bring, in bytes. More is refused, and nothing is kept of it.
    pub max_pack_bytes: u64,
    /// How many bytes all mirrors together may have before [`Mirrors::maintain`] removes those that were not used for the longest
    /// time; `None`: as many as they like.
    pub max_bytes: Option<u64>,
}

/// Where an unencrypted connection is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Nowhere.
    #[default]
    Refused,
    /// To this machine itself: `localhost`, `127.0.0.0/8` and `[::1]`.
    Loopback,
    /// To any host. The token travels in the clear.
    Anywhere,
}

impl MirrorsConfig {
    /// Mirrors below `root`, `git` from the `PATH`, ten minutes and 4 GiB for each conversation, https alone.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            git: PathBuf::from("git"),
            search_path: std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
            timeout: Duration::from_secs(600),
            plain_http: PlainHttp::Refused,
            allow_file: false,
            max_pack_bytes: 4 << 30,
            max_bytes: None,
        }
    }
}

/// Where a repository is fetched from and pushed to.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The address, such as `https://github.com/owner/name.git`. Without credentials: one that has any is refused.
    pub url: String,
    /// Who to be there; none for a repository that is open to all or a path.
    pub credentials: Option<Credentials>,
}

/// A user name and a token, sent as HTTP Basic.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name: `x-access-token` on GitHub.
    pub username: String,
    /// The token.
    pub token: SecretString,
}

impl Credentials {
    /// A token as GitHub takes it, of a person or of an App's installation:
    /// <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation>.
    #[must_use]
    pub fn token(token: SecretString) -> Self {
        Self {
            username: "x-access-token".to_owned(),
            token,
        }
    }
}

/// The mirrors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorsError {
    /// There is no git.
    #[error("`{git}` cannot be run; install git 2.39 or newer (on Debian: apt-get install git)")]
    GitMissing {
        /// What was tried.
        git: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The git is too old, or something else.
    #[error(
        "`{git} --version` says {version:?}; git 2.39 or newer is needed (on Debian: apt-get install git)"
    )]
    GitTooOld {
        /// What was tried.
        git: String,
        /// Its answer.
        version: String,
    },
    /// Another process uses the directory.
    #[error("another process uses the mirrors in {root}; stop it, or give this one a directory of its own")]
    InUse {
        /// The directory.
        root: String,
    },
    /// The directory cannot be made or used.
    #[error("the directory for mirrors, {root}, cannot be used; check that it can be written to")]
    Root {
        /// The directory.
        root: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The mirrors of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mirrors {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) transport: Transport,
    pub(crate) wire: Wire,
    pub(crate) max_bytes: Option<u64>,
    /// Held by a round of upkeep.
    pub(crate) upkeep: tokio::sync::Mutex<()>,
    slots: Mutex<HashMap<RepoId, Known>>,
    /// Counts the mirrors that were removed to make room.
    evictions: AtomicU64,
    /// Held as long as this lives: a lock file of a mirror that nobody in this process made is stale.
    exclusive: File,
}

/// A mirror that was opened by this process.
#[derive(Debug)]
struct Known {
    /// Every handle has a part of it, so while nobody else has one, nobody uses the mirror.
    slot: Arc<Slot>,
    /// When it was opened last.
    used: Instant,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, HashMap<RepoId, Known>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All mirrors that were opened by this process.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.known()
            .values()
            .map(|known| Arc::clone(&known.slot))
            .collect()
    }

    /// When the mirror was opened last by this process.
    pub(crate) fn used(&self, repo: RepoId) -> Option<Instant> {
        self.known().get(&repo).map(|known| known.used)
    }

    /// Removes a mirror unless somebody uses it; whether it was removed. Blocks.
    pub(crate) fn evict(&self, repo: RepoId, dir: &Path) -> io::Result<bool> {
        // Never the same name twice: what could not be removed then is still there.
        let number = self.evictions.fetch_add(1, Ordering::Relaxed);
        let aside = self.root.join(format!(
            "discarded-{repo}-{}-evicted-{number}",
            std::process::id()
        ));
        {
            // Nobody can open it before it is gone.
            let mut known = self.known();
            if known
                .get(&repo)
                .is_some_and(|known| Arc::strong_count(&known.slot) > 1)
            {
                return Ok(false);
            }
            fs::rename(dir, &aside)?;
            known.remove(&repo);
        }
        fs::remove_dir_all(&aside)?;
        Ok(true)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread is just forking has it open too, until it becomes git.
        if let Err(error) = self.exclusive.unlock() {
            tracing::warn!(%error, "the root directory of the mirrors could not be given free");
        }
    }
}

impl Mirrors {
    /// Takes the root directory for this process, and checks that git is there and new enough.
    ///
    /// Blocks for the time of one `git --version`.
    ///
    /// # Errors
    /// When git is missing or too old, or the directory cannot be used or is in use.
    pub fn new(config: MirrorsConfig) -> Result<Self, MirrorsError> {
        let broken = |source| MirrorsError::Root {
            root: config.root.display().to_string(),
            source,
        };
        fs::create_dir_all(&config.root).map_err(broken)?;
        // Canonical, so that git recognises it among the directories that it must not search upwards from.
        let root = config.root.canonicalize().map_err(broken)?;
        let exclusive = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("lock"))
            .map_err(broken)?;
        match exclusive.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(MirrorsError::InUse {
                    root: config.root.display().to_string(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(broken(source)),
        }
        let home = root.join("home");
        fs::create_dir_all(&home).map_err(broken)?;
        remove_discarded(&root).map_err(broken)?;
        let transport = Transport::new(&config, root.clone(), home);
        check_version(&transport)?;
        Ok(Self {
            shared: Arc::new(Shared {
                root,
                transport,
                wire: Wire::new(&config),
                max_bytes: config.max_bytes,
                upkeep: tokio::sync::Mutex::default(),
                slots: Mutex::default(),
                evictions: AtomicU64::default(),
                exclusive,
            }),
        })
    }

    /// The mirror of `repo`. Touches neither disk nor network: the directory is made by the first fetch.
    #[must_use]
    pub fn open(&self, repo: RepoId, remote: Remote) -> Mirror {
        let slot = {
            let mut slots = self.shared.known();
            let known = slots.entry(repo).or_insert_with(|| Known {
                slot: Arc::new(Slot::new(repo, &self.shared.root)),
                used: Instant::now(),
            });
            known.used = Instant::now();
            Arc::clone(&known.slot)
        };
        Mirror::new(Arc::clone(&self.shared), slot, Arc::new(remote))
    }
}

/// Directories of damaged mirrors that an earlier process did not come to remove.
fn remove_discarded(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"discarded-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn check_version(transport: &Transport) -> Result<(), MirrorsError> {
    let git = transport.children().program();
    let version = transport
        .children()
        .version()
        .map_err(|source| MirrorsError::GitMissing {
            git: git.clone(),
            source,
        })?;
    // `git version 2.47.3`, or `git version 2.39.5 (Apple Git-154)`.
    let numbers = version.strip_prefix("git version ").map(|rest| {
        let mut parts = rest
            .split(['.', ' ', '-'])
            .map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    });
    if numbers.is_some_and(|numbers| numbers >= OLDEST_GIT) {
        Ok(())
    } else {
        Err(MirrorsError::GitTooOld { git, version })
    }
}
