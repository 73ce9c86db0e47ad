//! The connection to Redis, and whether there is one.
//!
//! One task dials, watches, and dials again. Everybody else sees a [`watch`] of how things stand: nobody waits for a Redis that is known to be
//! away. What may interleave: a session may be lost while its commands run; they then fail, each within the command timeout, and whether
//! they ran is unknown. The scripts are made so that this does not matter.
//!
//! When a session is lost, others wait for one attempt to dial (at most a command timeout), so that a connection that was merely cut is
//! no reason to work without locks. When that fails, Redis counts as away until the task has it back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, PushInfo, PushKind, RedisResult, Script};
use tokio::sync::watch;

use super::hints::Hints;
use super::metrics::Metrics;
use super::trouble::{Censor, Trouble};
use crate::Schedule;

/// How long it waits between two attempts to dial.
const REDIAL: Schedule = Schedule {
    initial: Duration::from_millis(100),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: 0.2,
};

/// A session that lasted this long was a good one: the next attempt to dial comes at once.
const STEADY: Duration = Duration::from_secs(5);

/// How things stand.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// The first attempt to dial is under way, or the first after a session was lost.
    Dialling,
    /// There is a session.
    Up(Session),
    /// Redis is away.
    Down(Trouble),
    /// Shut down.
    Closed,
}

/// How things stand, once that is known.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    Up(Session),
    Down(Trouble),
    Closed,
}

/// Looks at the state. Clones look at the same.
#[derive(Clone, Debug)]
pub(super) struct Link {
    state: watch::Receiver<State>,
}

impl Link {
    pub(super) const fn new(state: watch::Receiver<State>) -> Self {
        Self { state }
    }

    /// How things stand. While the task dials it waits for that, at most for about a command timeout.
    pub(super) async fn standing(&self) -> Standing {
        let mut state = self.state.clone();
        let settled = state
            .wait_for(|state| match state {
                State::Dialling => false,
                // The task has not noticed yet.
                State::Up(session) => !session.is_gone(),
                State::Down(_) | State::Closed => true,
            })
            .await;
        match settled.as_deref() {
            Ok(State::Up(session)) => Standing::Up(session.clone()),
            Ok(State::Down(trouble)) => Standing::Down(trouble.clone()),
            Ok(State::Dialling | State::Closed) | Err(_) => Standing::Closed,
        }
    }

    /// Waits for a session; `None` when there will be none any more.
    pub(super) async fn up(&self) -> Option<Session> {
        let mut state = self.state.clone();
        let up = state
            .wait_for(|state| match state {
                State::Up(session) => !session.is_gone(),
                State::Closed => true,
                State::Dialling | State::Down(_) => false,
            })
            .await;
        match up.as_deref() {
            Ok(State::Up(session)) => Some(session.clone()),
            _ => None,
        }
    }

    /// Whether there is a session right now.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(session) if !session.is_gone())
    }

    /// Whether Redis is known to be away right now.
    pub(super) fn is_down(&self) -> bool {
        matches!(&*self.state.borrow(), State::Down(_))
    }
}

/// One connection, for as long as it lasts.
#[derive(Clone, Debug)]
pub(super) struct Session {
    inner: Arc<SessionInner>,
}

#[derive(Debug)]
struct SessionInner {
    connection: MultiplexedConnection,
    gone: watch::Sender<Option<Trouble>>,
    timeout: Duration,
    censor: Censor,
}

impl Session {
    /// Runs a script. Any failure ends the session: what Redis can't do once it can't be trusted with.
    pub(super) async fn run<T: FromRedisValue, const KEYS: usize, const ARGUMENTS: usize>(
        &self,
        script: &Script,
        keys: [String; KEYS],
        arguments: [String; ARGUMENTS],
    ) -> Result<T, Trouble> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        let mut connection = self.inner.connection.clone();
        self.limited(invocation.invoke_async(&mut connection)).await
    }

    /// Sends a command.
    pub(super) async fn command<T: FromRedisValue>(&self, name: &str) -> Result<T, Trouble> {
        let mut connection = self.inner.connection.clone();
        let command = redis::cmd(name);
        self.limited(command.query_async(&mut connection)).await
    }

    /// Sends a command that this Redis may refuse, which is no reason to end the session.
    pub(super) async fn optional<T: FromRedisValue>(&self, name: &str, argument: &str) -> Option<T> {
        let mut connection = self.inner.connection.clone();
        let mut command = redis::cmd(name);
        command.arg(argument);
        let answer = tokio::time::timeout(self.inner.timeout, command.query_async(&mut connection));
        answer.await.ok()?.ok()
    }

    async fn limited<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> Result<T, Trouble> {
        let trouble = tokio::select! {
            // What has arrived counts, even when the timeout has passed too.
            biased;
            answer = answer => match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => self.inner.censor.trouble(&error),
            },
            trouble = self.gone() => trouble,
            () = tokio::time::sleep(self.inner.timeout) => Trouble::Timeout,
        };
        self.end(trouble.clone());
        Err(trouble)
    }

    /// Ends the session, for everybody.
    pub(super) fn end(&self, trouble: Trouble) {
        end(&self.inner.gone, trouble);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.inner.gone.borrow().is_some()
    }

    /// Waits until the session is over, and says why.
    pub(super) async fn gone(&self) -> Trouble {
        let mut gone = self.inner.gone.subscribe();
        match gone.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(trouble)) => trouble.clone(),
            _ => Trouble::Away,
        }
    }

    /// Whether two are the same session.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// The first reason stays.
fn end(gone: &watch::Sender<Option<Trouble>>, trouble: Trouble) {
    gone.send_if_modified(|gone| {
        let first = gone.is_none();
        if first {
            *gone = Some(trouble);
        }
        first
    });
}

/// What it takes to dial.
pub(super) struct Dial {
    pub(super) client: Client,
    pub(super) shown: String,
    pub(super) timeout: Duration,
    pub(super) look_after: Duration,
    pub(super) censor: Censor,
    pub(super) probe: Script,
    pub(super) probe_key: String,
    pub(super) channels: Vec<String>,
    pub(super) hints: Arc<Hints>,
    pub(super) metrics: Arc<Metrics>,
}

impl Dial {
    /// Connects, and tries out whether Redis can be worked with.
    async fn session(&self) -> Result<Session, Trouble> {
        let (gone, _) = watch::channel(None);
        let dialled = self.dial(gone);
        match tokio::time::timeout(self.timeout, dialled).await {
            Ok(session) => session,
            Err(_) => Err(Trouble::Timeout),
        }
    }

    async fn dial(&self, gone: watch::Sender<Option<Trouble>>) -> Result<Session, Trouble> {
        let (hints, told) = (Arc::clone(&self.hints), gone.clone());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            // Each command is limited where it is made.
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| -> Result<(), redis::aio::SendError> {
                match push.kind {
                    PushKind::Disconnection => end(&told, Trouble::Away),
                    PushKind::Message => hints.receive(&push.data),
                    _ => {}
                }
                Ok(())
            });
        let connected = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connected.await.map_err(|error| self.censor.trouble(&error))?;
        let session = Session {
            inner: Arc::new(SessionInner {
                connection: connection.clone(),
                gone,
                timeout: self.timeout,
                censor: self.censor.clone(),
            }),
        };
        let _: i64 = session.run(&self.probe, [self.probe_key.clone()], []).await?;
        if let Err(error) = connection.subscribe(&self.channels).await {
            if !matches!(error.kind(), redis::ErrorKind::Server(_)) {
                return Err(self.censor.trouble(&error));
            }
            let trouble = self.censor.trouble(&error);
            tracing::warn!(redis = %self.shown, error = %trouble, "Redis gives no hints: waiting takes longer than it has to");
        }
        Ok(session)
    }
}

/// Keeps a session, as far as that can be done, until it is aborted.
pub(super) async fn keep(dial: Dial, state: watch::Sender<State>) {
    let mut failures = 0;
    let mut was_down = false;
    loop {
        match dial.session().await {
            Ok(session) => {
                if was_down {
                    tracing::info!(redis = %dial.shown, "Redis is back: work goes on with its locks");
                } else {
                    tracing::debug!(redis = %dial.shown, "connected to Redis");
                }
                was_down = false;
                dial.metrics.unavailable(false);
                let since = Instant::now();
                state.send_replace(State::Up(session.clone()));
                let trouble = look_after(&session, dial.look_after).await;
                tracing::debug!(redis = %dial.shown, error = %trouble, "the connection to Redis is lost");
                state.send_replace(State::Dialling);
                failures = if since.elapsed() > STEADY { 0 } else { failures + 1 };
                if failures <= 1 {
                    continue;
                }
                // Redis can be dialled and then fails: no more of that without a pause.
                go_on_without(&dial, &state, trouble, &mut was_down);
            }
            Err(trouble) => {
                failures += 1;
                go_on_without(&dial, &state, trouble, &mut was_down);
            }
        }
        tokio::time::sleep(REDIAL.delay(failures)).await;
    }
}

/// Says that Redis is away, once.
fn go_on_without(dial: &Dial, state: &watch::Sender<State>, trouble: Trouble, was_down: &mut bool) {
    if !*was_down {
        tracing::warn!(
            redis = %dial.shown,
            error = %trouble,
            "Redis can't be used ({trouble}): work goes on without its locks, at lower concurrency; \
             what is written to git stays right, since each ref is compared before it is set"
        );
    }
    *was_down = true;
    dial.metrics.unavailable(true);
    state.send_replace(State::Down(trouble));
}

/// Waits until a session is over, and looks itself from time to time whether Redis still answers.
async fn look_after(session: &Session, every: Duration) -> Trouble {
    loop {
        tokio::select! {
            trouble = session.gone() => return trouble,
            () = tokio::time::sleep(every) => {}
        }
        // Whatever goes wrong ends the session.
        if let Err(trouble) = session.command::<String>("PING").await {
            return trouble;
        }
    }
}
