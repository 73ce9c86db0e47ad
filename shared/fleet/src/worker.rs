//! The loop of a worker: receive, handle, settle.
//!
//! One place maps what a handler says to what the queue does. It guarantees:
//! - A message is settled only after its handler has said what became of it, and what follows is published in the same act.
//! - A message is kept while its handler works, up to [`WorkerOptions::patience`]; a handler that hangs is given up, counted.
//! - A handler that panics costs its own message one attempt, and nobody else anything.
//! - Once the queue is closed or the stop is asked for, nothing new is received, and what is in hand is finished.
//!
//! Deliberately not: telling people about a parked message is a publication of its own after the parking. A crash between the
//! two leaves the message parked, with its reason, and the people untold.

use std::sync::Arc;
use std::time::Duration;

use lockflight_promotion::message::Envelope;
use lockflight_promotion::{Classified, ErrorClass};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::queue::{Delivery, Queue, Retried, SettleError, Settled, Work};

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
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(error.class(), &error)
    }
}

/// What a role does with its messages.
pub trait Handler: Send + Sync + 'static {
    /// Handles one message. `attempt` is 0 the first time.
    fn handle(&self, envelope: &Envelope, attempt: u32)
    -> impl Future<Output = Result<Done, Failure>> + Send;

    /// The messages that tell people that this one is not tried again. None where there is nobody to tell: then it is parked.
    fn given_up(&self, _envelope: &Envelope, _reason: &str) -> Vec<Envelope> {
        Vec::new()
    }
}

/// How a worker goes about its work.
#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// Messages in hand at the same time, at least 1.
    pub concurrency: usize,
    /// How often a message in hand is kept; well below the queue's visibility timeout.
    pub keep_every: Duration,
    /// How long one message may take.
    pub patience: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 4,
            keep_every: Duration::from_secs(10),
            patience: Duration::from_secs(600),
        }
    }
}

/// How long to wait before a queue that could not be read is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Works until the queue is closed or `stop` is there, then finishes what is in hand.
pub async fn work<Q: Queue, H: Handler>(
    queue: Q,
    work: Work,
    handler: Arc<H>,
    options: WorkerOptions,
    stop: impl Future<Output = ()> + Send,
) {
    let mut stop = std::pin::pin!(stop);
    let mut in_hand = JoinSet::new();
    loop {
        while in_hand.len() >= options.concurrency.max(1) {
            finished(in_hand.join_next().await);
        }
        let received = tokio::select! {
            () = &mut stop => break,
            Some(ended) = in_hand.join_next() => {
                finished(Some(ended));
                continue;
            }
            received = queue.receive(work) => received,
        };
        match received {
            Ok(Some(delivery)) => {
                let envelope = delivery.envelope();
                let span = tracing::info_span!(
                    "message",
                    queue.name = work.name(), message.id = %envelope.id, delivery.id = %envelope.delivery,
                    repo = %envelope.repo.name, attempt = delivery.attempt(),
                );
                in_hand.spawn(one(queue.clone(), delivery, Arc::clone(&handler), options).instrument(span));
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(
                    queue.name = work.name(),
                    "{}",
                    Failure::of(ErrorClass::Retry, &error).reason
                );
                tokio::select! {
                    () = &mut stop => break,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
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

async fn one<Q: Queue, H: Handler>(queue: Q, delivery: Q::Delivery, handler: Arc<H>, options: WorkerOptions) {
    let Some(handled) = handle(&delivery, handler.as_ref(), options).await else {
        return;
    };
    match settle(&queue, delivery, handler.as_ref(), handled).await {
        Ok(Settled::Done) => {}
        Ok(Settled::Stale) => tracing::warn!("the message took too long and has come back to the queue"),
        Err(error) => tracing::error!("{}", Failure::of(ErrorClass::Retry, &error).reason),
    }
}

/// Handles a message while it is kept. None when it has gone to another worker: its work is cancelled.
async fn handle<D: Delivery, H: Handler>(
    delivery: &D,
    handler: &H,
    options: WorkerOptions,
) -> Option<Result<Done, Failure>> {
    let mut work = std::pin::pin!(handler.handle(delivery.envelope(), delivery.attempt()));
    let mut patience = std::pin::pin!(tokio::time::sleep(options.patience));
    let mut keep = tokio::time::interval(options.keep_every);
    keep.tick().await;
    loop {
        tokio::select! {
            handled = &mut work => return Some(handled),
            () = &mut patience => {
                let reason = format!("it took longer than {:?}", options.patience);
                return Some(Err(Failure::new(ErrorClass::Retry, reason)));
            }
            _ = keep.tick() => match delivery.keep().await {
                Ok(Settled::Done) => {}
                Ok(Settled::Stale) => {
                    tracing::warn!("the message has come back to the queue while it was worked on; this work ends here");
                    return None;
                }
                // The next one may succeed, and the timeout has some slack.
                Err(error) => tracing::warn!("{}", Failure::of(ErrorClass::Retry, &error).reason),
            },
        }
    }
}

/// What the queue does about what the handler said.
async fn settle<Q: Queue, H: Handler>(
    queue: &Q,
    delivery: Q::Delivery,
    handler: &H,
    handled: Result<Done, Failure>,
) -> Result<Settled, SettleError> {
    let failure = match handled {
        Ok(Done::Ack(follow)) => return delivery.ack(follow).await,
        Ok(Done::Defer(after, follow)) => return delivery.defer(after, follow).await,
        Err(failure) => failure,
    };
    let Failure { class, reason } = failure;
    match class {
        ErrorClass::Retry => {
            let envelope = delivery.envelope().clone();
            match delivery.retry(&reason, Vec::new()).await? {
                Retried::After(after) => {
                    tracing::warn!(wait_ms = after.as_millis(), "trying again in {after:?}: {reason}");
                    Ok(Settled::Done)
                }
                Retried::Parked => {
                    tracing::error!("parked after its last attempt: {reason}");
                    if let Err(error) = queue.publish(&handler.given_up(&envelope, &reason)).await {
                        tracing::error!(
                            "nobody could be told: {}",
                            Failure::of(error.class(), &error).reason
                        );
                    }
                    Ok(Settled::Done)
                }
                Retried::Stale => Ok(Settled::Stale),
            }
        }
        ErrorClass::RetryAfter(after) => {
            // Whoever says "at once" is not asked at once: that would be a loop without a pause.
            let after = after.max(PAUSE);
            tracing::warn!(wait_ms = after.as_millis(), "put aside for {after:?}: {reason}");
            delivery.defer(after, Vec::new()).await
        }
        ErrorClass::User => {
            let follow = handler.given_up(delivery.envelope(), &reason);
            if follow.is_empty() {
                tracing::error!("parked, since there is nobody to tell: {reason}");
                return delivery.park(&reason, follow).await;
            }
            tracing::warn!("people have to mend it, and are told: {reason}");
            delivery.ack(follow).await
        }
        ErrorClass::Reject | ErrorClass::Bug => {
            tracing::error!("parked: {reason}");
            let follow = handler.given_up(delivery.envelope(), &reason);
            delivery.park(&reason, follow).await
        }
    }
}

#[cfg(test)]
mod tests;
