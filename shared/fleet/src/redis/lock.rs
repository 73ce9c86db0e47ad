//! The lock port on Redis.
//!
//! Guarantees, as long as Redis keeps what it was told: of one repository one lease is granted at a time; waiters are served in the order
//! in which they came, whichever process they are in; the fence grows with each grant; the local deadline lies before the one that
//! Redis keeps. When Redis forgets, fails over, or is away, two may work at a time. That is fine: what is written to git stays right
//! by the compare-and-swap on the ref.
//!
//! Each waiter has a ticket, in a line that Redis keeps. It asks again when it is told that it is its turn, and from time to time
//! in any case: hints may be lost. Whoever stops asking loses its place. The lock bears the ticket of the one who has it, so a renewal or
//! a goodbye never touches somebody else's lock, and any question may be asked twice.
//!
//! While Redis is away, work goes on without locks, for a few repositories at a time, and for each repository once in a process. Such a
//! guard's fence is 0. It is renewed for as long as Redis is away; once Redis is back it ends with its last renewal, so that for at
//! most a lease others may hold the lock next to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockflight_promotion::telemetry::{attribute, span};
use lockflight_promotion::{Fence, RepoId};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::farewell::{Farewell, leave};
use super::guard::RedisGuard;
use super::hints::{Hints, Listener};
use super::keys::Keys;
use super::link::{Link, Session, Standing};
use super::local::Local;
use super::metrics::Metrics;
use super::options::RedisOptions;
use super::scripts::Scripts;
use super::tasks::Tasks;
use super::trouble::Trouble;
use crate::member::random;
use crate::{BackendError, LockError, MemberId, RepoLock};

/// Locks of repositories, kept in Redis. Clones share everything.
#[derive(Clone)]
pub struct RedisLocks {
    pub(super) inner: Arc<Inner>,
}

impl fmt::Debug for RedisLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLocks")
            .field("redis", &self.inner.options.uri)
            .field("me", &self.inner.me)
            .finish_non_exhaustive()
    }
}

/// What the locks of a process share.
pub(super) struct Inner {
    pub(super) options: RedisOptions,
    pub(super) me: MemberId,
    /// The name of this process's channel.
    pub(super) process: String,
    pub(super) link: Link,
    pub(super) keys: Keys,
    pub(super) scripts: Arc<Scripts>,
    pub(super) hints: Arc<Hints>,
    pub(super) local: Local,
    pub(super) farewells: mpsc::UnboundedSender<Farewell>,
    pub(super) closing: tokio::sync::watch::Sender<bool>,
    pub(super) metrics: Arc<Metrics>,
    /// They run for as long as anybody may need them.
    pub(super) tasks: Arc<Tasks>,
}

impl RepoLock for RedisLocks {
    type Guard = RedisGuard;

    async fn acquire(&self, repo: RepoId) -> Result<RedisGuard, LockError> {
        let since = Instant::now();
        let span = tracing::info_span!(
            "lock",
            otel.name = span::LOCK_ACQUIRE,
            otel.kind = "client",
            %repo,
            { attribute::RESULT } = tracing::field::Empty,
        );
        let mut closing = self.inner.closing.subscribe();
        let acquired = async {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => Err(LockError::Closed),
                acquired = self.acquire_somehow(repo) => acquired,
            }
        };
        let acquired = acquired.instrument(span.clone()).await;
        let metrics = &self.inner.metrics;
        let result = match &acquired {
            Ok(guard) if guard.is_local() => {
                metrics.bypassed();
                "bypassed"
            }
            Ok(_) => "acquired",
            Err(_) => "failed",
        };
        span.record(attribute::RESULT, result);
        metrics.waited(since, result);
        acquired
    }
}

impl RedisLocks {
    async fn acquire_somehow(&self, repo: RepoId) -> Result<RedisGuard, LockError> {
        loop {
            match self.inner.link.standing().await {
                Standing::Up(session) => {
                    if let Some(guard) = self.acquire_in_redis(repo, &session).await {
                        return Ok(guard);
                    }
                }
                Standing::Down(_) => {
                    tokio::select! {
                        biased;
                        guard = self.acquire_without_redis(repo) => return guard.ok_or(LockError::Closed),
                        // Redis is back, or all is over: look again.
                        _ = self.inner.link.up() => {}
                    }
                }
                Standing::Closed => return Err(LockError::Closed),
            }
        }
    }

    /// Waits in the line; `None` when the session ended meanwhile, or the lease before it could be used.
    async fn acquire_in_redis(&self, repo: RepoId, session: &Session) -> Option<RedisGuard> {
        let claim = Claim::new(Arc::clone(&self.inner), repo);
        let (asked, fence) = claim.wait(session).await?;
        self.inner.local.had(repo, fence);
        let mut guard = RedisGuard::held(claim, asked, fence);
        let slot = tokio::select! {
            biased;
            // Somebody of this process may still work on it, from when Redis was away.
            slot = self.inner.local.slot(repo) => slot,
            () = guard.is_lost() => return None,
        };
        guard.take_slot(slot);
        Some(guard)
    }

    async fn acquire_without_redis(&self, repo: RepoId) -> Option<RedisGuard> {
        let slot = self.inner.local.slot(repo).await;
        let permit = self.inner.local.permit().await?;
        let mut guard = RedisGuard::without_redis(Arc::clone(&self.inner), repo, permit);
        guard.take_slot(slot);
        tracing::debug!(%repo, "working on repository {repo} without its lock");
        Some(guard)
    }
}

/// A ticket: a place in the line of a repository, or its lock. Dropping it gives up either.
pub(super) struct Claim {
    inner: Arc<Inner>,
    repo: RepoId,
    ticket: String,
    /// Whether Redis may know the ticket.
    shown: AtomicBool,
}

impl Claim {
    fn new(inner: Arc<Inner>, repo: RepoId) -> Self {
        let ticket = format!("{}.{}{}", inner.process, random(), random());
        Self {
            inner,
            repo,
            ticket,
            shown: AtomicBool::new(false),
        }
    }

    pub(super) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(super) const fn repo(&self) -> RepoId {
        self.repo
    }

    /// Asks until the lock is granted: when that was asked for, and the fence. `None` when the session has ended.
    async fn wait(&self, session: &Session) -> Option<(Instant, Fence)> {
        self.shown.store(true, Ordering::Relaxed);
        let listener = self.inner.hints.listen(&self.ticket);
        let mut before = None;
        let mut contended = false;
        loop {
            let asked = Instant::now();
            let answer = self
                .ask(session, before.map(|before| asked - before))
                .await
                .ok()?;
            before = Some(asked);
            let wait = match answer {
                // The answer may have taken so long that the lease is of no use any more.
                Answer::Granted(fence) if asked.elapsed() < self.inner.options.hold() => {
                    return Some((asked, fence));
                }
                Answer::Granted(_) => Duration::ZERO,
                Answer::Wait(wait) => {
                    if !contended {
                        self.inner.metrics.contended();
                    }
                    contended = true;
                    wait
                }
            };
            self.pause(session, &listener, wait).await?;
        }
    }

    async fn pause(&self, session: &Session, listener: &Listener, wait: Duration) -> Option<()> {
        tokio::select! {
            () = listener.turn() => Some(()),
            () = tokio::time::sleep(wait) => Some(()),
            _ = session.gone() => None,
        }
    }

    async fn ask(&self, session: &Session, since: Option<Duration>) -> Result<Answer, Trouble> {
        let Inner {
            options,
            keys,
            scripts,
            local,
            ..
        } = &*self.inner;
        let repo = self.repo;
        let names = [
            keys.lock(repo),
            keys.fence(repo),
            keys.line(repo),
            keys.seen(repo),
        ];
        let arguments = [
            self.ticket.clone(),
            millis(options.lease).to_string(),
            millis(options.patience()).to_string(),
            since.map_or_else(|| "-1".to_owned(), |since| millis(since).to_string()),
            local.floor(repo).to_string(),
            self.inner.me.to_string(),
            keys.wakes(),
        ];
        let (granted, number): (bool, i64) = session.run(&scripts.ask, names, arguments).await?;
        if granted {
            return Ok(Answer::Granted(Fence(number.cast_unsigned())));
        }
        // A millisecond later, so that it is really over.
        let wait = u64::try_from(number).map_or(options.poll, |left| Duration::from_millis(left + 1));
        Ok(Answer::Wait(wait.min(options.poll)))
    }

    /// Renews the lease; false when the lock is not ours any more.
    pub(super) async fn renew(&self, session: &Session) -> Result<bool, Trouble> {
        let Inner {
            options,
            keys,
            scripts,
            ..
        } = &*self.inner;
        let lease = millis(options.lease).to_string();
        session
            .run(
                &scripts.renew,
                [keys.lock(self.repo)],
                [self.ticket.clone(), lease],
            )
            .await
    }

    /// Has the ticket given up soon, if that was not done.
    pub(super) fn leave(&self) {
        if !self.shown.swap(false, Ordering::Relaxed) {
            return;
        }
        let options = &self.inner.options;
        let farewell = Farewell::Leave {
            repo: self.repo,
            ticket: self.ticket.clone(),
            until: Instant::now() + options.lease.max(options.patience()),
        };
        // An error means that all is shut down: the ticket runs out.
        drop(self.inner.farewells.send(farewell));
    }

    /// Gives the lock back now. When that is not known to have worked, it is tried again later.
    pub(super) async fn give_back(&self) -> Result<(), LockError> {
        let unknown = |trouble: Trouble| LockError::Backend(BackendError::new(trouble));
        let session = match self.inner.link.standing().await {
            Standing::Up(session) => session,
            Standing::Down(trouble) => return Err(unknown(trouble)),
            Standing::Closed => return Err(LockError::Closed),
        };
        let left = leave(
            &session,
            &self.inner.keys,
            &self.inner.scripts,
            self.repo,
            &self.ticket,
        );
        left.await.map_err(unknown)?;
        self.shown.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.leave();
    }
}

enum Answer {
    Granted(Fence),
    /// Ask again after that long.
    Wait(Duration),
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
