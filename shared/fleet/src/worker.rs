//! The loop of a worker: receive, handle, settle.
//!
//! One place maps what a handler says to what the queue does. It guarantees:
//! - A message is settled only after its handler has said what became of it, and what follows is published in the same act.
//! - A message is kept while its handler works, up to [`WorkerOptions::patience`]; a handler that hangs is given up, counted.
//! - Messages of a batch are settled one by one, each as soon as it is handled.
//! - A handler that panics costs the messages of its batch that are not settled one attempt. They come again one by one, so that next
//!   time it costs its own message alone.
//! - Once the queue is closed or the stop is asked for, nothing new is received, the messages in hand are finished, and the rest of their
//!   batches is given back, uncounted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockflight_promotion::message::Envelope;
use lockflight_promotion::{Classified, ErrorClass};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::failpoint;
use crate::measure::{self, Level};
use crate::queue::{Delivery, Queue, Retried, SettleError, Settled, Work};
use crate::trace::{self, Place, Settling};

/// What became of a message that was handled.
#[derive(Debug)]
#[must_use]
pub enum Done {
    /// It is done; these messages follow from it.
    Ack(Vec<Envelope>),
    /// It waits for something that takes its time, such as checks: not counted as an attempt. These messages follow already.
    Defer(Duration, Vec<Envelope>),
}

/// Why a message could not be handled.
#[derive(Debug)]
pub struct Failure {
    /// What to do about it.
    pub class: ErrorClass,
    /// Why, for people: a sentence or two, without secrets.
    pub reason: String,
}

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Self {
            class,
            reason: reason.into(),
        }
    }

    /// A failure with the message of an error and of all its causes, in one line.
    #[must_use]
    pub fn of(class: ErrorClass, error: &dyn std::error::Error) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason.push_str(": ");
            reason.push_str(&error.to_string());
            cause = error.source();
        }
        Self { class, reason }
    }

    /// The failure in telemetry, in one word of few; none for what is no fault of ours nor of the surroundings.
    const fn error_type(&self) -> Option<&'static str> {
        match self.class {
            ErrorClass::Retry => Some("retry"),
            ErrorClass::Reject => Some("reject"),
            ErrorClass::Bug => Some("bug"),
            ErrorClass::RetryAfter(_) | ErrorClass::User => None,
        }
    }
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(error.class(), &error)
    }
}

/// What a role does with its messages.
pub trait Handler: Send + Sync + 'static {
    /// What [`Handler::prepare`] finds out for one message.
    type Prepared: Send;

    /// Does for messages of one repository, in one go, what is cheaper done together. Answers for each of them, in their order; what
    /// fails here fails for that message as if [`Handler::handle`] had said so.
    fn prepare(
        &self,
        batch: &[&Envelope],
    ) -> impl Future<Output = Vec<Result<Self::Prepared, Failure>>> + Send;

    /// Handles one message. `failures` is how often that failed before, as [`Delivery::failures`] counts.
    fn handle(
        &self,
        envelope: &Envelope,
        failures: u32,
        prepared: Self::Prepared,
    ) -> impl Future<Output = Result<Done, Failure>> + Send;

    /// The messages that tell people that this one is not tried again. None where there is nobody to tell: then it is parked.
    fn given_up(&self, _envelope: &Envelope, _reason: &str) -> Vec<Envelope> {
        Vec::new()
    }
}

/// How a worker goes about its work.
#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// Batches in hand at the same time, at least 1.
    pub concurrency: usize,
    /// Messages of one repository in a batch, at most: at least 1.
    pub batch: usize,
    /// How often a message in hand is kept; well below the queue's visibility timeout.
    pub keep_every: Duration,
    /// How long the preparation of a batch, and then each of its messages, may take.
    pub patience: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 4,
            batch: 1,
            keep_every: Duration::from_secs(10),
            patience: Duration::from_secs(600),
        }
    }
}

impl WorkerOptions {
    fn too_long(&self) -> String {
        format!("it took longer than {:?}", self.patience)
    }
}

/// How long to wait before a queue that could not be read is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Works until the queue is closed or `stop` is there; then finishes the messages in hand, and gives back those of their batches that nobody
/// has begun with.
pub async fn work<Q: Queue, H: Handler>(
    queue: Q,
    work: Work,
    handler: Arc<H>,
    options: WorkerOptions,
    stop: impl Future<Output = ()> + Send,
) {
    let mut stop = std::pin::pin!(stop);
    let mut in_hand = JoinSet::new();
    let place = Place {
        system: Q::SYSTEM,
        work,
    };
    let _capacity = Level::capacity(work, options.concurrency.max(1));
    let stopping = Arc::new(AtomicBool::new(false));
    loop {
        let has_room = in_hand.len() < options.concurrency.max(1);
        let received = tokio::select! {
            // In this order, so that a run over simulated ports is the same each time.
            biased;
            () = &mut stop => break,
            Some(ended) = in_hand.join_next() => {
                finished(Some(ended));
                continue;
            }
            received = queue.receive(work, options.batch.max(1)), if has_room => received,
        };
        match received {
            Ok(Some(batch)) => {
                let repo = batch.first().map(|first| first.envelope().repo.name.clone());
                let span = tracing::info_span!(
                    "batch",
                    queue.name = work.name(),
                    repo = repo.as_ref().map(tracing::field::display),
                    batch.messages = batch.len(),
                );
                let (handler, stopping) = (Arc::clone(&handler), Arc::clone(&stopping));
                in_hand.spawn(handle_batch(place, batch, handler, options, stopping).instrument(span));
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(
                    queue.name = work.name(),
                    "{}",
                    Failure::of(ErrorClass::Retry, &error).reason
                );
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
    stopping.store(true, Ordering::Relaxed);
    while let Some(ended) = in_hand.join_next().await {
        finished(Some(ended));
    }
}

/// A panic has already cost its message an attempt, by the drop of the delivery.
fn finished(ended: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = ended {
        tracing::error!("a handler panicked; its message comes again: {error}");
    }
}

/// Prepares a batch, and handles and settles its messages one after another, all the while keeping those whose turn is yet to come.
async fn handle_batch<D: Delivery, H: Handler>(
    place: Place,
    batch: Vec<D>,
    handler: Arc<H>,
    options: WorkerOptions,
    stopping: Arc<AtomicBool>,
) {
    let _busy = Level::busy(place.work);
    measure::received(place, batch.len());
    let mut keeper = Keeper::new(options);
    let mut waiting: VecDeque<D> = batch.into();
    let prepared = {
        let envelopes: Vec<&Envelope> = waiting.iter().map(Delivery::envelope).collect();
        let prepare = handler
            .prepare(&envelopes)
            .instrument(trace::prepare(place, waiting.iter()));
        match keeper.within(prepare, waiting.iter().collect()).await {
            Ok(prepared) => prepared,
            Err(Ended::TooLong) => {
                let failed = || Err(Failure::new(ErrorClass::Retry, options.too_long()));
                waiting.iter().map(|_| failed()).collect()
            }
            Err(Ended::Gone) => return,
        }
    };
    // A handler that leaves one out has a mistake: the message is then dropped, and comes again counted.
    for prepared in prepared {
        let Some(delivery) = waiting.pop_front() else {
            break;
        };
        if stopping.load(Ordering::Relaxed) {
            give_back(delivery).await;
            continue;
        }
        let span = trace::process(place, &delivery);
        handle_one(place, delivery, prepared, &waiting, handler.as_ref(), &mut keeper)
            .instrument(span)
            .await;
    }
}

/// Gives a message back that nobody has begun with, because the process ends.
async fn give_back<D: Delivery>(delivery: D) {
    if let Err(error) = delivery.defer(Duration::ZERO, Vec::new()).await {
        tracing::warn!("{}", Failure::of(ErrorClass::Retry, &error).reason);
    }
}

async fn handle_one<D: Delivery, H: Handler>(
    place: Place,
    delivery: D,
    prepared: Result<H::Prepared, Failure>,
    waiting: &VecDeque<D>,
    handler: &H,
    keeper: &mut Keeper,
) {
    // It may have waited for its turn for longer than the queue's patience; whoever has it now does it.
    if let Ok(Settled::Stale) = delivery.keep().await {
        tracing::warn!("the message has come back to the queue before its turn came");
        return;
    }
    let began = Instant::now();
    let handled = match prepared {
        Err(failure) => Err(failure),
        Ok(prepared) => {
            let work = handler.handle(delivery.envelope(), delivery.failures(), prepared);
            let kept = std::iter::once(&delivery).chain(waiting).collect();
            match keeper.within(work, kept).await {
                Ok(handled) => handled,
                Err(Ended::TooLong) => Err(Failure::new(ErrorClass::Retry, keeper.options.too_long())),
                Err(Ended::Gone) => return,
            }
        }
    };
    let error_type = handled.as_ref().err().and_then(Failure::error_type);
    measure::processed(place, error_type, began.elapsed());
    failpoint::reached("worker.handled");
    let settled = settle(place, delivery, handler, handled);
    // The settlement ends by itself, in a time that the queue bounds.
    match keeper.meanwhile(settled, waiting.iter().collect()).await {
        Ok(Settled::Done) => failpoint::reached("worker.settled"),
        Ok(Settled::Stale) => tracing::warn!("the message took too long and has come back to the queue"),
        Err(error) => tracing::error!("{}", Failure::of(ErrorClass::Retry, &error).reason),
    }
}

/// Why work ended before it was done.
enum Ended {
    /// It took longer than the worker's patience.
    TooLong,
    /// The message that it is about, the first of those kept, has gone to another worker.
    Gone,
}

/// Keeps the messages of a batch, at one pace over all of its parts: many short ones take as long together as one long one.
struct Keeper {
    options: WorkerOptions,
    next: tokio::time::Interval,
}

impl Keeper {
    fn new(options: WorkerOptions) -> Self {
        let first = tokio::time::Instant::now() + options.keep_every;
        Self {
            options,
            next: tokio::time::interval_at(first, options.keep_every),
        }
    }

    /// Does work while messages are kept, for as long as the worker's patience lasts. It is about the first of them.
    async fn within<T, D: Delivery>(
        &mut self,
        work: impl Future<Output = T>,
        kept: Vec<&D>,
    ) -> Result<T, Ended> {
        let mut work = std::pin::pin!(work);
        let mut patience = std::pin::pin!(tokio::time::sleep(self.options.patience));
        loop {
            tokio::select! {
                // Work that is done counts, even if it is done in the moment in which patience ends.
                biased;
                done = &mut work => return Ok(done),
                () = &mut patience => return Err(Ended::TooLong),
                _ = self.next.tick() => {
                    if keep(&kept).await {
                        tracing::warn!("the message has come back to the queue while it was worked on; this work ends here");
                        return Err(Ended::Gone);
                    }
                }
            }
        }
    }

    /// Does something that ends by itself while messages are kept.
    async fn meanwhile<T, D: Delivery>(&mut self, done: impl Future<Output = T>, kept: Vec<&D>) -> T {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                biased;
                done = &mut done => return done,
                // One that has gone is found out when its turn comes.
                _ = self.next.tick() => { keep(&kept).await; }
            }
        }
    }
}

/// Keeps messages; whether the first of them has gone.
async fn keep<D: Delivery>(kept: &[&D]) -> bool {
    let mut gone = false;
    for (place, delivery) in kept.iter().enumerate() {
        match delivery.keep().await {
            Ok(Settled::Stale) => gone |= place == 0,
            Ok(Settled::Done) => {}
            // The next one may succeed, and the timeout has some slack.
            Err(error) => tracing::warn!("{}", Failure::of(ErrorClass::Retry, &error).reason),
        }
    }
    gone
}

/// What the queue does about what the handler said.
async fn settle<D: Delivery, H: Handler>(
    place: Place,
    delivery: D,
    handler: &H,
    handled: Result<Done, Failure>,
) -> Result<Settled, SettleError> {
    let failure = match handled {
        Ok(Done::Ack(follow)) => return ack(place, delivery, follow).await,
        Ok(Done::Defer(after, follow)) => return defer(place, delivery, after, follow, "waits").await,
        Err(failure) => failure,
    };
    if let Some(error_type) = failure.error_type() {
        trace::fail(&tracing::Span::current(), error_type, &failure.reason);
    }
    let Failure { class, reason } = failure;
    match class {
        ErrorClass::Retry => {
            let last_words = handler.given_up(delivery.envelope(), &reason);
            match retry(place, delivery, &reason, last_words).await? {
                Retried::After(after) => {
                    tracing::warn!(wait_ms = after.as_millis(), "trying again in {after:?}: {reason}");
                    Ok(Settled::Done)
                }
                Retried::Parked => {
                    tracing::error!("parked after its last attempt: {reason}");
                    Ok(Settled::Done)
                }
                Retried::Stale => Ok(Settled::Stale),
            }
        }
        ErrorClass::RetryAfter(after) => {
            // Whoever says "at once" is not asked at once: that would be a loop without a pause.
            let after = after.max(PAUSE);
            tracing::warn!(wait_ms = after.as_millis(), "put aside for {after:?}: {reason}");
            defer(place, delivery, after, Vec::new(), "rate_limited").await
        }
        ErrorClass::User => {
            let follow = handler.given_up(delivery.envelope(), &reason);
            if follow.is_empty() {
                tracing::error!("parked, since there is nobody to tell: {reason}");
                return park(place, delivery, &reason, follow, "user").await;
            }
            tracing::warn!("people have to mend it, and are told: {reason}");
            ack(place, delivery, follow).await
        }
        ErrorClass::Reject | ErrorClass::Bug => {
            tracing::error!("parked: {reason}");
            let follow = handler.given_up(delivery.envelope(), &reason);
            let error_type = if class == ErrorClass::Bug { "bug" } else { "reject" };
            park(place, delivery, &reason, follow, error_type).await
        }
    }
}

fn is_stale(settled: &Settled) -> bool {
    *settled == Settled::Stale
}

async fn ack<D: Delivery>(
    place: Place,
    delivery: D,
    mut follow: Vec<Envelope>,
) -> Result<Settled, SettleError> {
    let settling = Settling::begin(place, "ack", &delivery, &mut follow);
    settling.end(delivery.ack(follow), is_stale).await
}

async fn defer<D: Delivery>(
    place: Place,
    delivery: D,
    after: Duration,
    mut follow: Vec<Envelope>,
    reason: &'static str,
) -> Result<Settled, SettleError> {
    let settling = Settling::begin(place, "defer", &delivery, &mut follow);
    let settled = settling.end(delivery.defer(after, follow), is_stale).await?;
    measure::deferred(place.work, reason);
    Ok(settled)
}

async fn park<D: Delivery>(
    place: Place,
    delivery: D,
    reason: &str,
    mut follow: Vec<Envelope>,
    error_type: &'static str,
) -> Result<Settled, SettleError> {
    let settling = Settling::begin(place, "park", &delivery, &mut follow);
    let settled = settling.end(delivery.park(reason, follow), is_stale).await?;
    measure::parked(place.work, error_type);
    Ok(settled)
}

async fn retry<D: Delivery>(
    place: Place,
    delivery: D,
    reason: &str,
    mut last_words: Vec<Envelope>,
) -> Result<Retried, SettleError> {
    // Most often they are not said.
    trace::stamp(&mut last_words);
    let settling = Settling::begin(place, "retry", &delivery, &mut []);
    let is_stale = |retried: &Retried| *retried == Retried::Stale;
    let retried = settling.end(delivery.retry(reason, last_words), is_stale).await?;
    match retried {
        Retried::After(_) => measure::retried(place.work, "retry"),
        Retried::Parked => measure::parked(place.work, "last_attempt"),
        Retried::Stale => {}
    }
    Ok(retried)
}

#[cfg(test)]
mod tests;
