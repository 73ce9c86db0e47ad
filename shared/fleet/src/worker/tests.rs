//! The loop against the embedded queue.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::sync::Notify;

use super::*;
use crate::contract::sample;
use crate::embedded::{EmbeddedFleet, EmbeddedOptions};
use crate::{Journal as _, Offset, Schedule};

/// What a handler is told to do with the messages that it sees, in turn.
type Say = Box<dyn Fn(usize) -> Result<Done, Failure> + Send + Sync>;

struct Script {
    say: Say,
    seen: AtomicUsize,
    told: Mutex<Vec<String>>,
}

impl Handler for Script {
    type Prepared = ();

    async fn prepare(&self, batch: &[&Envelope]) -> Vec<Result<(), Failure>> {
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn handle(&self, _: &Envelope, _: u32, (): ()) -> Result<Done, Failure> {
        (self.say)(self.seen.fetch_add(1, Ordering::SeqCst))
    }

    fn given_up(&self, envelope: &Envelope, reason: &str) -> Vec<Envelope> {
        self.told.lock().unwrap().push(reason.to_owned());
        vec![envelope.follow(envelope.id.clone(), sample::outcome(1, "told").body)]
    }
}

async fn fleet() -> EmbeddedFleet {
    let backoff = Schedule {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(2),
        ..Schedule::fast()
    };
    let options = EmbeddedOptions {
        max_attempts: 3,
        backoff,
        ..EmbeddedOptions::default()
    };
    EmbeddedFleet::open_in_memory(options).await.unwrap()
}

/// Publishes one step, works until the queue is quiet, and gives the handler back with the outcomes in the journal.
async fn run(say: Say) -> (EmbeddedFleet, Arc<Script>, Vec<&'static str>) {
    let fleet = fleet().await;
    let script = Arc::new(Script {
        say,
        seen: AtomicUsize::new(0),
        told: Mutex::default(),
    });
    fleet.publish(&[sample::step(1, "s")]).await.unwrap();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let options = WorkerOptions::default();
    let worker = work(
        fleet.clone(),
        Work::Steps,
        Arc::clone(&script),
        options,
        async move {
            stopped.notified().await;
        },
    );
    let quiet = async {
        fleet.quiet().await;
        stop.notify_one();
    };
    tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(worker, quiet) })
        .await
        .unwrap();
    let records = fleet.read(Offset::START, 100).await.unwrap();
    let outcomes = records
        .iter()
        .filter_map(|record| record.envelope())
        .filter_map(|envelope| match &envelope.body {
            lockflight_promotion::message::Body::Outcome(outcome) => Some(outcome.name()),
            _ => None,
        })
        .collect();
    (fleet, script, outcomes)
}

async fn parked(fleet: &EmbeddedFleet) -> Vec<String> {
    fleet
        .parked()
        .await
        .unwrap()
        .into_iter()
        .map(|parked| parked.reason)
        .collect()
}

#[tokio::test]
async fn what_is_done_is_settled_with_what_follows() {
    let say: Say = Box::new(|_| Ok(Done::Ack(vec![sample::outcome(1, "o")])));
    let (fleet, script, outcomes) = run(say).await;
    assert_eq!(script.seen.load(Ordering::SeqCst), 1);
    assert_eq!(outcomes, [sample_outcome()]);
    assert!(parked(&fleet).await.is_empty());
}

fn sample_outcome() -> &'static str {
    match sample::outcome(1, "o").body {
        lockflight_promotion::message::Body::Outcome(outcome) => outcome.name(),
        _ => unreachable!("the sample is an outcome"),
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_until_it_is_parked_and_people_are_told_once() {
    let say: Say = Box::new(|_| Err(Failure::new(ErrorClass::Retry, "no luck")));
    let (fleet, script, outcomes) = run(say).await;
    assert_eq!(script.seen.load(Ordering::SeqCst), 3);
    assert_eq!(outcomes, ["retried", "retried", "parked", sample_outcome()]);
    assert!(parked(&fleet).await[0].contains("no luck"));
}

#[tokio::test]
async fn a_failure_that_passes_leaves_nothing_behind() {
    let say: Say = Box::new(|seen| match seen {
        0 => Err(Failure::new(ErrorClass::Retry, "not yet")),
        1 => Ok(Done::Defer(Duration::from_millis(1), Vec::new())),
        2 => Err(Failure::new(
            ErrorClass::RetryAfter(Duration::from_millis(1)),
            "limited",
        )),
        _ => Ok(Done::Ack(Vec::new())),
    });
    let (fleet, script, outcomes) = run(say).await;
    assert_eq!(script.seen.load(Ordering::SeqCst), 4);
    assert_eq!(outcomes, ["retried"]);
    assert!(parked(&fleet).await.is_empty());
}

#[tokio::test]
async fn what_people_have_to_mend_is_told_and_done_with() {
    let say: Say = Box::new(|_| Err(Failure::new(ErrorClass::User, "mend this")));
    let (fleet, script, _) = run(say).await;
    assert_eq!(script.seen.load(Ordering::SeqCst), 1);
    assert_eq!(*script.told.lock().unwrap(), ["mend this"]);
    assert!(parked(&fleet).await.is_empty());
}

#[tokio::test]
async fn our_own_mistakes_and_what_can_never_be_done_are_parked_at_once() {
    for class in [ErrorClass::Bug, ErrorClass::Reject] {
        let (fleet, script, _) = run(Box::new(move |_| Err(Failure::new(class, "hopeless")))).await;
        assert_eq!(script.seen.load(Ordering::SeqCst), 1);
        assert!(parked(&fleet).await[0].contains("hopeless"));
    }
}

#[tokio::test]
async fn a_panic_costs_its_own_message_one_attempt() {
    let say: Say = Box::new(|seen| {
        assert!(seen > 0, "the first time goes wrong");
        Ok(Done::Ack(Vec::new()))
    });
    let (fleet, script, _) = run(say).await;
    assert_eq!(script.seen.load(Ordering::SeqCst), 2);
    assert!(parked(&fleet).await.is_empty());
}

/// A handler that never ends.
struct Hangs;

impl Handler for Hangs {
    type Prepared = ();

    async fn prepare(&self, batch: &[&Envelope]) -> Vec<Result<(), Failure>> {
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn handle(&self, _: &Envelope, _: u32, (): ()) -> Result<Done, Failure> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_handler_that_hangs_is_given_up_after_a_while() {
    let fleet = fleet().await;
    fleet.publish(&[sample::step(1, "s")]).await.unwrap();
    let options = WorkerOptions {
        patience: Duration::from_millis(10),
        ..WorkerOptions::default()
    };
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let worker = work(fleet.clone(), Work::Steps, Arc::new(Hangs), options, async move {
        stopped.notified().await;
    });
    let quiet = async {
        fleet.quiet().await;
        stop.notify_one();
    };
    tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(worker, quiet) })
        .await
        .unwrap();
    assert!(parked(&fleet).await[0].contains("longer than"));
}

#[tokio::test]
async fn an_error_is_told_with_its_causes() {
    let cause = std::io::Error::other("the disk is full");
    let error = crate::PublishError::Backend(crate::BackendError::new(cause));
    let failure = Failure::from(crate::LockError::Closed);
    assert_eq!(failure.class, ErrorClass::Retry);
    assert!(
        Failure::of(ErrorClass::Retry, &error)
            .reason
            .ends_with("the disk is full")
    );
}

/// Panics at the message `poison`, and remembers the batches that it was given.
#[derive(Default)]
struct Batches(Mutex<Vec<Vec<String>>>);

impl Handler for Batches {
    type Prepared = ();

    async fn prepare(&self, batch: &[&Envelope]) -> Vec<Result<(), Failure>> {
        let ids = batch.iter().map(|envelope| envelope.id.to_string()).collect();
        self.0.lock().unwrap().push(ids);
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn handle(&self, envelope: &Envelope, _: u32, (): ()) -> Result<Done, Failure> {
        assert_ne!(envelope.id.as_str(), "poison", "on purpose");
        Ok(Done::Ack(vec![
            envelope.follow(envelope.id.clone(), sample::outcome(1, "done").body),
        ]))
    }
}

#[tokio::test]
async fn one_that_breaks_its_batch_is_alone_the_next_time_and_parked_alone() {
    let fleet = fleet().await;
    let steps = ["s1", "poison", "s2", "s3"].map(|id| sample::step(1, id));
    fleet.publish(&steps).await.unwrap();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let handler = Arc::new(Batches::default());
    let options = WorkerOptions {
        batch: 10,
        ..WorkerOptions::default()
    };
    let worker = work(
        fleet.clone(),
        Work::Steps,
        Arc::clone(&handler),
        options,
        async move {
            stopped.notified().await;
        },
    );
    let quiet = async {
        fleet.quiet().await;
        stop.notify_one();
    };
    tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(worker, quiet) })
        .await
        .unwrap();
    let batches = handler.0.lock().unwrap().clone();
    assert_eq!(batches[0], ["s1", "poison", "s2", "s3"]);
    assert!(batches[1..].iter().all(|batch| batch.len() == 1), "{batches:?}");
    let parked = fleet.parked().await.unwrap();
    let ids: Vec<_> = parked
        .iter()
        .filter_map(|parked| Some(parked.content.envelope()?.id.as_str()))
        .collect();
    assert_eq!(ids, ["poison"]);
    let records = fleet.read(Offset::START, 100).await.unwrap();
    for id in ["s1", "s2", "s3"] {
        let done = records.iter().filter_map(|record| record.envelope());
        let done = done.filter(|envelope| envelope.cause.as_ref().is_some_and(|cause| cause.as_str() == id));
        assert!(done.count() > 0, "{id} is done");
    }
}
