//! A world in which a story happens: a forge with one repository, and Lockflight in processes of its own: `lockflight serve`, or a
//! fleet of roles on RabbitMQ and Redis.
//!
//! What it guarantees:
//! - Everything goes through the outside. `serve` talks to the forge by REST and git through the
//!   [`ValidatingProxy`], gets signed webhooks through a front whose address outlives its restarts, and is looked at by
//!   what the forge shows, by what it logs, and by what any user of the machine can see of its processes.
//! - A story ends in `World::finish`, whatever it was about: `serve` ends in peace on SIGTERM, no pull request or comment is there
//!   twice, no comment was left unread by the story, and no secret is to be seen anywhere.
//! - Every wait is for something to be seen, and is bounded, by [`PATIENCE`] where the story says nothing else. A story that fails prints what the forge and `serve` did.
//! - The child is killed when the world goes, and nothing but the child.
//!
//! What it ignores: how they do it. There is no back door, so the same story can be told of `serve` and of a fleet.

mod checkout;
mod dump;
mod ending;
mod fleet;
mod front;
mod further;
mod git;
mod processes;
mod pulls;
mod serve;
mod setup;
mod webhook;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockflight_sandbox::{App, Forge};
use tempfile::TempDir;

use crate::proxy::ValidatingProxy;

pub use checkout::Checkout;
pub use fleet::{Fleet, Role};
pub use processes::Process;
pub use pulls::{Edit, put, remove};
pub use setup::Setup;
pub use webhook::Post;

/// The repository that every story is about.
pub const REPOSITORY: &str = "acme/gitops";

/// The person who changes things and merges.
pub const MONA: &str = "mona";

/// Another person.
pub const HUBOT: &str = "hubot";

/// The account that Lockflight acts as, where it is no App.
pub const BOT: &str = "lockflight-bot";

/// The account of the second identity.
pub const APPROVER: &str = "lockflight-approver";

/// The context of the status that Lockflight sets.
pub const STATUS: &str = "lockflight/promotion";

/// No wait for something takes longer. Far more than anything should take, since a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Nothing has happened for this long: longer than the longest wait between two tries that [`Setup`] configures.
const QUIET: Duration = Duration::from_millis(600);

/// After this time what is waited for is looked at, even if the forge has nothing to tell.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Everything that a story needs. [`Setup::run`] makes one and ends it.
pub struct World {
    /// The forge: its model can be read, and its faults switched on.
    pub forge: Forge,
    /// What stands between `serve` and the forge.
    pub proxy: ValidatingProxy,
    front: front::Front,
    /// How each process is started.
    launches: Vec<fleet::Member>,
    running: tokio::sync::Mutex<BTreeMap<fleet::Place, serve::Serve>>,
    log: serve::Log,
    identity: Identity,
    webhook_secret: String,
    hook: u64,
    installation: Option<u64>,
    /// What must never be seen, each with what it is.
    secrets: Vec<(&'static str, String)>,
    read_comments: Mutex<HashSet<u64>>,
    branches: AtomicU32,
    patience: Duration,
    // Last: the processes and servers above use it.
    data: TempDir,
}

/// As whom Lockflight acts.
enum Identity {
    Person,
    App(App),
}

impl World {
    /// Returns the login that Lockflight's deeds are written down under.
    pub fn bot(&self) -> &str {
        match &self.identity {
            Identity::Person => BOT,
            Identity::App(app) => &app.bot,
        }
    }

    /// Returns the number of the App that Lockflight acts as.
    pub fn app(&self) -> u64 {
        match &self.identity {
            Identity::Person => panic!("in this world Lockflight is no App"),
            Identity::App(app) => app.id,
        }
    }

    /// Returns the number of the App's installation.
    pub fn installation(&self) -> u64 {
        self.installation.expect("in this world Lockflight is an App")
    }

    /// Waits until there is an answer; fails the story with everything that is known after the world's patience.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&Forge) -> Option<T>) -> T {
        let search = async {
            loop {
                // Some things are seen that the forge does not tell of, such as a request that it refused.
                if let Some(found) = self.forge.wait_for(LOOK_AGAIN, &mut look).await {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(self.patience, search).await;
        found.unwrap_or_else(|_| panic!("this did not happen within {:?}: {what}", self.patience))
    }

    /// Waits until `serve` has logged a line with this text, and returns the line.
    pub async fn until_logged(&self, text: &str) -> String {
        let found = tokio::time::timeout(PATIENCE, self.log.line_with(text)).await;
        found.unwrap_or_else(|_| panic!("`serve` did not log {text:?} within {PATIENCE:?}"))
    }

    /// Waits until so many lines with this text were logged.
    pub async fn until_logged_times(&self, text: &str, times: usize) {
        let found = tokio::time::timeout(self.patience, self.log.lines_with(text, times)).await;
        found.unwrap_or_else(|_| panic!("{text:?} was not logged {times} times within {:?}", self.patience));
    }

    /// Waits until something is held at the forge.
    pub async fn until_held(&self, what: &str, held: &lockflight_sandbox::Held) {
        let arrived = tokio::time::timeout(PATIENCE, held.arrived()).await;
        arrived.unwrap_or_else(|_| panic!("this was not asked of the forge within {PATIENCE:?}: {what}"));
    }

    /// Waits until nothing has been asked, delivered or logged for a while: then whatever could follow has followed.
    ///
    /// It proves that something does *not* happen; for what does, wait with [`World::until`].
    pub async fn quiet(&self) {
        let silence = async {
            let mut seen = self.activity();
            let mut since = tokio::time::Instant::now();
            while since.elapsed() < QUIET {
                self.forge.webhooks_idle().await;
                tokio::time::sleep(QUIET / 12).await;
                let now = self.activity();
                if now != seen {
                    (seen, since) = (now, tokio::time::Instant::now());
                }
            }
        };
        // What was set off may be much, such as a hundred deliveries.
        let silent = tokio::time::timeout(2 * self.patience, silence).await;
        silent.unwrap_or_else(|_| panic!("there was no quiet within {:?}", 2 * self.patience));
    }

    fn activity(&self) -> (u64, u64, usize) {
        let usage = self.forge.usage();
        (usage.rest_calls, usage.git().round_trips, self.log.len())
    }

    /// Kills all processes as a power cut would, and waits until they are gone.
    pub async fn kill(&self) {
        let running = std::mem::take(&mut *self.running.lock().await);
        assert!(!running.is_empty(), "something runs before it is killed");
        self.front.point_at(Vec::new());
        for (_, process) in running {
            process.kill().await;
        }
    }

    /// Removes all that `serve` keeps: its queue, its journal, its locks and its mirrors. It has to be dead.
    pub async fn lose_everything(&self) {
        assert!(
            self.running.lock().await.is_empty(),
            "kill the processes before what they keep is lost"
        );
        let kept = self.data.path().join("serve").join("data");
        std::fs::remove_dir_all(&kept).expect("serve keeps something there");
    }

    /// Starts the processes again, on what those before have left.
    pub async fn restart(&self) {
        assert!(
            self.running.lock().await.is_empty(),
            "kill the processes before they are started again"
        );
        self.start_all().await;
    }

    /// Returns everything that `serve` has logged, in all its lives.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Returns the processes that `serve` has started and that still run: git, and what git has started.
    pub async fn children(&self) -> Vec<Process> {
        let pids: Vec<_> = self
            .running
            .lock()
            .await
            .values()
            .map(serve::Serve::pid)
            .collect();
        assert!(!pids.is_empty(), "something runs");
        pids.into_iter().flat_map(processes::descendants).collect()
    }

    /// Returns every file below a directory at a branch or commit, with its mode and blob.
    pub async fn tree(&self, revision: &str, directory: &str) -> BTreeMap<String, (String, String)> {
        let listed = self.forge.list_files(REPOSITORY, revision, directory).await;
        listed.unwrap_or_else(|error| panic!("{directory} at {revision} cannot be listed: {error}"))
    }

    /// Fails unless two directories hold the same files, and any at all.
    pub async fn assert_same_tree(&self, revision: &str, source: &str, target: &str) {
        let wanted = self.tree(revision, source).await;
        assert!(!wanted.is_empty(), "{source} has no files at {revision}");
        assert_eq!(
            wanted,
            self.tree(revision, target).await,
            "{target} is not as {source} at {revision}"
        );
    }

    /// Returns the text of a file, or nothing where it is not there.
    pub async fn file(&self, revision: &str, path: &str) -> Option<String> {
        let bytes = self.forge.read_file(REPOSITORY, revision, path).await;
        let bytes = bytes.unwrap_or_else(|error| panic!("{path} at {revision} cannot be read: {error}"));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for World {
    #[expect(clippy::print_stderr, reason = "a test that failed tells why on stderr")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.dump());
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("forge", &self.forge)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
