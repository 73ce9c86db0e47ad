//! Locks and membership on Redis, for a fleet of many processes.
//!
//! [`Redis`] is the connection of a process. It gives the lock port, [`RedisLocks`], and [`Members`], which says who else is there.
//!
//! It needs Redis 6 or newer, and a user with the rights that [`RIGHTS`] lists. Without those to publish and to subscribe, waiting takes
//! longer.
//!
//! All of it may vanish: [`lock`] says what happens then.

mod farewell;
mod guard;
mod health;
mod hints;
mod keys;
mod link;
mod local;
pub mod lock;
pub mod members;
mod metrics;
pub mod options;
mod scripts;
mod tasks;
mod trouble;

use std::sync::Arc;

use redis::Client;
use tokio::sync::{mpsc, oneshot, watch};

use farewell::Farewell;
use hints::Hints;
use keys::Keys;
use link::{Dial, Link, State};
use local::Local;
use metrics::Metrics;
use scripts::Scripts;
use tasks::Tasks;
use trouble::Censor;

use crate::member::random;

pub use crate::member::{InvalidMemberId, MemberId, Membership, Role};
pub use guard::RedisGuard;
pub use health::{Health, RedisUnusable};
pub use lock::RedisLocks;
pub use members::{Member, Members, MembersError};
pub use options::{InvalidKeyPrefix, InvalidOptions, InvalidRedisUri, KeyPrefix, RedisOptions, RedisUri};

/// The rights that a user of Redis needs, as `ACL SETUSER` takes them, for the usual prefix. `INFO` is for the doctor alone.
pub const RIGHTS: &str = "~lockflight:* &lockflight:* +hello +auth +select +ping +time +info +subscribe +publish +evalsha +script|load +get \
     +set +del +exists +incr +expire +pexpire +pttl +hget +hset +zadd +zcard +zrange +zrangebyscore +zrem +zremrangebyscore +zscore";

/// The connection of this process to Redis. Clones are the same connection; it ends with [`Redis::close`], or with the last of them and
/// of its locks, guards and members.
#[derive(Clone, Debug)]
pub struct Redis {
    locks: RedisLocks,
    members: Members,
}

impl Redis {
    /// Begins to connect, and returns at once: a Redis that can't be reached is one that work goes on without.
    ///
    /// It needs a tokio runtime. `me` is the name of this process, which locks bear so that people see who has them.
    ///
    /// # Errors
    /// When the options can't be worked with.
    pub fn start(options: RedisOptions, me: MemberId) -> Result<Self, InvalidOptions> {
        options.check()?;
        let info = options.uri.connection_info().ok_or(InvalidOptions::Address)?;
        let censor = Censor::new(&info);
        let client = Client::open(info).map_err(|_checked_before| InvalidOptions::Address)?;
        let keys = Keys::new(&options.prefix);
        let scripts = Arc::new(Scripts::new());
        let metrics = Arc::new(Metrics::new());
        let hints = Arc::new(Hints::new(keys.members_changed()));
        let process = format!("{}{}", random(), random());
        let (state, receiver) = watch::channel(State::Dialling);
        let link = Link::new(receiver);
        let dial = Dial {
            client,
            shown: options.uri.shown().to_owned(),
            timeout: options.command_timeout,
            look_after: options.heartbeat,
            censor,
            probe: scripts.probe.clone(),
            probe_key: keys.probe(&me),
            channels: vec![keys.wake(&process), keys.members_changed()],
            hints: Arc::clone(&hints),
            metrics: Arc::clone(&metrics),
        };
        let (farewells, to_say) = mpsc::unbounded_channel();
        let keeping = tokio::spawn(link::keep(dial, state.clone()));
        let saying = tokio::spawn(farewell::say(
            link.clone(),
            keys.clone(),
            Arc::clone(&scripts),
            to_say,
        ));
        let running = [keeping.abort_handle(), saying.abort_handle()];
        let tasks = Arc::new(Tasks::new(state, running));
        let members = Members {
            inner: Arc::new(members::Inner {
                options: options.clone(),
                link: link.clone(),
                keys: keys.clone(),
                scripts: Arc::clone(&scripts),
                hints: Arc::clone(&hints),
                _tasks: Arc::clone(&tasks),
            }),
        };
        let locks = RedisLocks {
            inner: Arc::new(lock::Inner {
                local: Local::new(options.degraded_concurrency),
                options,
                me,
                process,
                link,
                keys,
                scripts,
                hints,
                farewells,
                closing: watch::Sender::new(false),
                metrics,
                tasks,
            }),
        };
        Ok(Self { locks, members })
    }

    /// The locks.
    #[must_use]
    pub fn locks(&self) -> RedisLocks {
        self.locks.clone()
    }

    /// The membership.
    #[must_use]
    pub fn members(&self) -> Members {
        self.members.clone()
    }

    /// Whether there is a connection right now, without asking anybody.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.locks.inner.link.is_up()
    }

    /// Whether Redis is known to be away, so that work goes on without its locks.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.locks.inner.link.is_down()
    }

    /// Asks Redis how it is: within a few command timeouts, or at once when it is known to be away.
    ///
    /// # Errors
    /// When it can't be used.
    pub async fn ping(&self) -> Result<Health, RedisUnusable> {
        let asked = health::ask(&self.locks.inner.link).await;
        asked.map_err(|trouble| RedisUnusable::new(self.locks.inner.options.uri.shown(), trouble))
    }

    /// Shuts down: whoever waits for a lock is told so, the locks that were dropped are given back, the connection ends. Locks that are
    /// still held run out by themselves. Takes a command timeout at most.
    pub async fn close(&self) {
        let inner = &self.locks.inner;
        inner.closing.send_replace(true);
        let (done, said) = oneshot::channel();
        // An error means that it is closed already.
        if inner.farewells.send(Farewell::Flush(done)).is_ok() {
            drop(tokio::time::timeout(inner.options.command_timeout, said).await);
        }
        inner.tasks.end();
    }
}
