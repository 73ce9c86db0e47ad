//! The queue port on RabbitMQ.
//!
//! What this adapter promises:
//! - What was published and confirmed is on a quorum queue, and in the journal's stream; mandatory, with confirms, and a message that the
//!   broker returned or refused was not published. A publish that was not confirmed in time is unknown: it may double a message.
//! - A message is acknowledged after whatever was decided for it has been published and confirmed, never before. So a crash, of ours or
//!   of the broker's, at any moment, doubles and never loses.
//! - Steps of one repository go to one partition, a queue with a single active consumer. Within the process that has it they go out in
//!   the order in which the queue gives them, one batch at a time; a batch whose channel died keeps its repository busy until its worker has
//!   let go of it, or its time is over. Messages that came back go to the end of their queue, behind what was published since.
//! - Repositories take turns within what the process holds: `window_plan` messages, or `window_steps` of each partition, or more of it
//!   while a repository floods it.
//! - Attempts are counted in the messages' own headers. What the broker counts adds to [`Delivery::attempt`](crate::Delivery::attempt)
//!   of one that it handed out before. One that came back ten times is counted before it is handed out, so that one that ends its process each
//!   time is parked, and nothing else is (see `trials`).
//! - A message that waits for its time is on the broker, on the rungs of the retry ladder, and survives every process. Only the rest
//!   that is shorter than any rung is sat out where it is consumed.
//! - Who is cancelled while it waits for work has taken nothing: between a message's leaving its lane and the return of
//!   [`Queue::receive`] nothing is awaited.
//! - A closed fleet hands out nothing. Plan work that waits goes to other planners at once; a partition's steps go back when what is in
//!   hand is settled, and at the latest when the fleet is stopped.
//!
//! What it deliberately does not:
//! - Follow-ups and the acknowledgement are not one: a crash between them publishes the follow-ups twice. Their ids are the same.
//! - A settlement that is late is told by what this process knows. When a connection dies while the follow-ups are on their way, they are
//!   published although the message comes again.
//! - Where partitions change hands, two processes may work on one repository for a moment, if the old owner took longer than the visibility
//!   timeout. The lock and the compare-and-swap of git refs are for that.
//! - What waited unseen in a process that died, lost its connection or gave up a partition comes back counted by the broker, which
//!   can't tell it from what was in hand. So a message is handed out alone when we counted it, or the broker three times.
//! - [`Queue::depth`] knows what is on the broker and in this process. What other processes hold is in neither number, delayed and parked
//!   messages are those of all kinds of work, and the oldest is the oldest of this process.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lockflight_promotion::message::Envelope;
use lockflight_promotion::telemetry::attribute;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connection::Unavailable;
use super::consumer::{Consuming, Wanted, stopped};
use super::fate::Fates;
use super::intake::{Held, Intake};
use super::message::{Outgoing, Unfit, now_millis};
use super::{AmqpDelivery, AmqpFleet, Inner, Partitions, measure, parked, topology};
use crate::{BackendError, Depth, InspectError, Parked, ParkedId, PublishError, Queue, ReceiveError, Work};

/// How long the broker may take to say how full its queues are.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the consumers may take to end.
const GOODBYE: Duration = Duration::from_secs(3);

/// What a fleet receives of each kind of work, once it is asked for any.
#[derive(Debug)]
pub(super) struct Intakes {
    plan: OnceLock<Running>,
    steps: OnceLock<Running>,
    forward: OnceLock<Running>,
    stopped: watch::Sender<bool>,
}

/// An intake and the tasks that fill it.
#[derive(Debug)]
struct Running {
    intake: Arc<Intake>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// A process asks for work that it was not started for. Our own mistake.
#[derive(Debug, thiserror::Error)]
#[error("this process was not started to take {0} work")]
struct NotTaken(Work);

impl Default for Intakes {
    fn default() -> Self {
        Self {
            plan: OnceLock::new(),
            steps: OnceLock::new(),
            forward: OnceLock::new(),
            stopped: watch::Sender::new(false),
        }
    }
}

impl Intakes {
    const fn of(&self, work: Work) -> &OnceLock<Running> {
        match work {
            Work::Plan => &self.plan,
            Work::Steps => &self.steps,
            Work::Forward => &self.forward,
        }
    }

    /// What is held of a kind of work.
    fn held(&self, work: Work) -> Held {
        let running = self.of(work).get();
        running.map_or_else(Held::default, |running| running.intake.held())
    }

    /// Gives everything back that is not settled: what goes elsewhere first, within that time, and the rest with its channel.
    pub(super) async fn stop(&self, patience: Duration) {
        let running = || Work::ALL.into_iter().filter_map(|work| self.of(work).get());
        let moved = async {
            for running in running() {
                running.intake.moved().await;
            }
        };
        // What is not moved by then comes again by itself.
        drop(tokio::time::timeout(patience, moved).await);
        self.stopped.send_replace(true);
        for running in running() {
            let tasks = std::mem::take(&mut *running.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            let ended = futures::future::join_all(tasks);
            if tokio::time::timeout(GOODBYE, ended).await.is_err() {
                tracing::warn!("the consumers did not end within {GOODBYE:?}");
            }
        }
    }
}

impl Inner {
    /// The intake of a kind of work. Starts its consumers when it is first asked for.
    fn intake(&self, work: Work) -> Result<&Arc<Intake>, NotTaken> {
        let taken = match work {
            Work::Plan => self.consume.plan,
            Work::Steps => self.consume.steps.is_some(),
            Work::Forward => self.consume.forward,
        };
        if !taken {
            return Err(NotTaken(work));
        }
        let running = self.intakes.of(work).get_or_init(|| self.start(work));
        Ok(&running.intake)
    }

    fn start(&self, work: Work) -> Running {
        let fates = Fates {
            options: self.options.clone(),
            names: self.names.clone(),
        };
        let (intake, mover) = Intake::new(work, fates, self.publisher.clone());
        // Ends by itself when the intake is gone.
        drop(tokio::spawn(mover.run()));
        let mut tasks = vec![tokio::spawn(tidy(
            Arc::clone(&intake),
            self.intakes.stopped.subscribe(),
        ))];
        let consuming = |queue, window, partition| {
            let consuming = Consuming {
                intake: Arc::clone(&intake),
                queue,
                window,
                connection: self.connections.consuming(),
                wanted: Wanted {
                    closing: self.closing.subscribe(),
                    partition,
                },
                stopped: self.intakes.stopped.subscribe(),
                whole: self.whole.clone(),
            };
            tokio::spawn(consuming.run())
        };
        match (work, &self.consume.steps) {
            (Work::Steps, Some(ours)) => {
                tasks.push(tokio::spawn(count_partitions(
                    ours.clone(),
                    self.options.partitions,
                    self.intakes.stopped.subscribe(),
                )));
                tasks.extend((0..self.options.partitions).map(|partition| {
                    let queue = self.names.steps(partition);
                    consuming(queue, self.options.window_steps, Some((partition, ours.clone())))
                }));
            }
            (Work::Forward, _) => {
                tasks.push(consuming(self.names.forward(), self.options.window_forward, None));
            }
            _ => tasks.push(consuming(self.names.plan(), self.options.window_plan, None)),
        }
        Running {
            intake,
            tasks: Mutex::new(tasks),
        }
    }

    async fn depth(&self, work: Work) -> Result<Depth, InspectError> {
        let connection = self.connections.consuming_now(PATIENCE).await?;
        let channel = connection.create_channel().await.map_err(backend)?;
        let count = async |queues: Vec<String>| {
            let mut sum = 0_u64;
            for queue in queues {
                sum = sum.saturating_add(topology::count(&channel, &queue).await.map_err(backend)?);
            }
            Ok::<u64, InspectError>(sum)
        };
        let queues = match work {
            Work::Plan => vec![self.names.plan()],
            Work::Forward => vec![self.names.forward()],
            Work::Steps => (0..self.options.partitions)
                .map(|partition| self.names.steps(partition))
                .collect(),
        };
        let rungs = (0..self.options.ladder.len())
            .map(|rung| self.names.retry(rung))
            .collect();
        let (ready, delayed, parked) = (
            count(queues).await?,
            count(rungs).await?,
            count(vec![self.names.parked()]).await?,
        );
        // The counts are there; it is gone with its connection at the latest.
        drop(channel.close(200, "done".into()).await);
        let held = self.intakes.held(work);
        let age = |published: i64| u64::try_from(now_millis().saturating_sub(published)).unwrap_or(0);
        Ok(Depth {
            ready: ready.saturating_add(held.waiting as u64),
            delayed: delayed.saturating_add(held.delayed as u64),
            in_flight: held.in_hand as u64,
            parked,
            oldest_age: held.oldest.map(|published| Duration::from_millis(age(published))),
        })
    }
}

/// Takes care of deadlines until the fleet is stopped.
async fn tidy(intake: Arc<Intake>, mut stop: watch::Receiver<bool>) {
    loop {
        let next = intake.tidy();
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Measures how many partitions are ours until the fleet is stopped.
async fn count_partitions(mut ours: watch::Receiver<Partitions>, all: u16, mut stop: watch::Receiver<bool>) {
    loop {
        let owned = match &*ours.borrow_and_update() {
            Partitions::All => all.into(),
            Partitions::Some(ours) => ours.len(),
        };
        measure::owned(owned);
        tokio::select! {
            // Without its sender it does not change any more.
            changed = ours.changed() => if changed.is_err() { return },
            () = stopped(&mut stop) => {
                measure::owned(0);
                return;
            }
        }
    }
}

fn backend(error: lapin::Error) -> InspectError {
    InspectError::Backend(BackendError::new(error))
}

impl From<Unavailable> for InspectError {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Closed => Self::Closed,
            error @ Unavailable::Away(_) => Self::Backend(BackendError::new(error)),
        }
    }
}

impl AmqpFleet {
    #[cfg(any(test, feature = "testing"))]
    /// Puts bytes on a queue as they are, for tests of what can't be read.
    ///
    /// # Errors
    /// When the broker did not confirm them.
    pub async fn inject(
        &self,
        work: Work,
        repo: lockflight_promotion::RepoId,
        bytes: Vec<u8>,
    ) -> Result<(), PublishError> {
        let message = Outgoing::raw(work, repo, bytes, &self.inner.names);
        Ok(self.inner.publisher.publish(vec![message]).await?)
    }
}

impl Queue for AmqpFleet {
    type Delivery = AmqpDelivery;

    const SYSTEM: &'static str = attribute::SYSTEM_RABBITMQ;

    async fn publish(&self, messages: &[Envelope]) -> Result<(), PublishError> {
        let Inner { names, options, .. } = &*self.inner;
        let outgoing = messages.iter();
        let outgoing: Result<Vec<Outgoing>, Unfit> = outgoing
            .map(|envelope| Outgoing::event(envelope, names, options.max_message))
            .collect();
        Ok(self.inner.publisher.publish(outgoing?).await?)
    }

    async fn receive(&self, work: Work, most: usize) -> Result<Option<Vec<AmqpDelivery>>, ReceiveError> {
        let mut closing = self.closing();
        if *closing.borrow_and_update() {
            return Ok(None);
        }
        let intake = self.inner.intake(work);
        let intake = intake.map_err(|error| ReceiveError::Backend(BackendError::new(error)))?;
        let mut changes = intake.changes();
        loop {
            changes.mark_unchanged();
            if *closing.borrow_and_update() {
                return Ok(None);
            }
            let until = match intake.take(most) {
                Ok(deliveries) => return Ok(Some(deliveries)),
                Err(until) => until,
            };
            tokio::select! {
                _ = changes.changed() => {}
                _ = closing.changed() => {}
                () = reach(until) => {}
            }
        }
    }

    async fn depth(&self, work: Work) -> Result<Depth, InspectError> {
        let depth = tokio::time::timeout(PATIENCE, self.inner.depth(work)).await;
        depth.unwrap_or_else(|_| {
            let silent = format!("RabbitMQ did not answer within {PATIENCE:?}");
            Err(InspectError::Backend(BackendError::new(silent)))
        })
    }

    async fn parked(&self) -> Result<Vec<Parked>, InspectError> {
        parked::list(&self.inner).await
    }

    async fn release(&self, id: &ParkedId) -> Result<bool, InspectError> {
        let released = parked::release(&self.inner, std::slice::from_ref(id)).await?;
        Ok(released.first() == Some(&true))
    }

    async fn release_each(&self, ids: &[ParkedId]) -> Result<Vec<bool>, InspectError> {
        parked::release(&self.inner, ids).await
    }
}

async fn reach(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
