//! The queue and the journal in memory: messages that come late, twice, again or out of turn, and settlements that are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockflight_fleet::{
    BackendError, Content, Delivery, Depth, InspectError, Journal, JournalError, Offset, Parked, ParkedId,
    PublishError, Queue, ReceiveError, Recorded, Retried, SettleError, Settled, Work,
};
use lockflight_promotion::message::{Body, Envelope, Outcome};
use lockflight_promotion::{MessageId, RepoId};
use tokio::time::{Instant, sleep_until};

use crate::process::{Hand, Kind};
use crate::weather::Sabotage;
use crate::world::World;

pub(crate) const MOST_ATTEMPTS: u32 = 10;
const MOST_LOSSES: u32 = 20;

#[derive(Debug, Default)]
pub(crate) struct Messages {
    all: BTreeMap<u64, Message>,
    published: u64,
    receipts: u64,
    /// Whether more than one worker gets steps of one repository: a mistake on purpose.
    pub(crate) crowded: bool,
}

#[derive(Debug)]
struct Message {
    work: Work,
    envelope: Envelope,
    failed: u32,
    lost: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting { until: Instant },
    Out { receipt: u64, until: Instant },
    Parked { reason: String },
}

enum Verdict {
    Done,
    Defer(Duration),
    Park(String),
}

impl Messages {
    /// When there may be something to take: at once if that is over.
    fn next(&self, work: Work) -> Option<Instant> {
        let busy = self.busy(work);
        let times = self
            .all
            .values()
            .filter(|message| message.work == work)
            .filter_map(|message| match message.state {
                State::Waiting { .. } if busy.contains(&message.envelope.repo.id) => None,
                State::Waiting { until } | State::Out { until, .. } => Some(until),
                State::Parked { .. } => None,
            });
        times.min()
    }

    /// Repositories of which something is out, where only one batch may be.
    fn busy(&self, work: Work) -> BTreeSet<RepoId> {
        let out = |message: &&Message| message.work == work && matches!(message.state, State::Out { .. });
        match work {
            Work::Steps if self.crowded => BTreeSet::new(),
            Work::Plan => BTreeSet::new(),
            Work::Steps => self
                .all
                .values()
                .filter(out)
                .map(|message| message.envelope.repo.id)
                .collect(),
        }
    }

    /// What is not parked and not put aside for longer than that.
    pub(crate) fn busy_within(&self, soon: Duration) -> usize {
        let soon = Instant::now() + soon;
        let open = |message: &&Message| match message.state {
            State::Waiting { until } => until <= soon,
            State::Out { .. } => true,
            State::Parked { .. } => false,
        };
        self.all.values().filter(open).count()
    }

    /// Whether all that is left are merges that were put aside.
    pub(crate) fn only_merges(&self) -> bool {
        let waits = |message: &Message| {
            matches!(message.envelope.body, Body::Merge(_)) && matches!(message.state, State::Waiting { .. })
        };
        self.all.values().all(waits)
    }

    pub(crate) fn left(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn describe(&self) -> Vec<String> {
        self.all
            .values()
            .map(|message| {
                format!(
                    "{} {} failed {} lost {} {:?}",
                    message.envelope.routing_key(),
                    message.envelope.id,
                    message.failed,
                    message.lost,
                    message.state
                )
            })
            .collect()
    }

    /// Puts back all that is parked, and lets nothing wait any longer.
    pub(crate) fn release_all(&mut self) -> usize {
        let now = Instant::now();
        let mut released = 0;
        for message in self.all.values_mut() {
            match message.state {
                State::Parked { .. } => {
                    message.state = State::Waiting { until: now };
                    (message.failed, message.lost) = (0, 0);
                    released += 1;
                }
                State::Waiting { .. } => message.state = State::Waiting { until: now },
                State::Out { .. } => {}
            }
        }
        released
    }
}

impl World {
    /// Puts messages on their queues and into the journal.
    pub(crate) fn publish(&mut self, messages: Vec<Envelope>) {
        for message in messages {
            self.say(|| format!("   published {} {}", message.routing_key(), message.id));
            self.witness_published(&message);
            self.journal.push(message.clone());
            let Some(work) = Work::of(&message) else { continue };
            let (double, delay) = (self.weather.double, self.weather.delay);
            let copies = if self.dice.chance(double) { 2 } else { 1 };
            for _ in 0..copies {
                let mut until = Instant::now();
                if self.dice.chance(delay) {
                    until += Duration::from_millis(self.dice.between(100, 60_000));
                }
                self.put(work, message.clone(), until);
            }
        }
    }

    fn put(&mut self, work: Work, envelope: Envelope, until: Instant) {
        if self.weather.collapse {
            let equal = |message: &&mut Message| {
                message.envelope.id == envelope.id
                    && message.envelope.repo.id == envelope.repo.id
                    && message.work == work
                    && matches!(message.state, State::Waiting { .. })
            };
            if let Some(waits) = self.messages.all.values_mut().find(equal) {
                waits.state = State::Waiting {
                    until: Instant::now(),
                };
                return;
            }
        }
        self.messages.published += 1;
        let message = Message {
            work,
            envelope,
            failed: 0,
            lost: 0,
            state: State::Waiting { until },
        };
        self.messages.all.insert(self.messages.published, message);
    }

    fn note(&mut self, seq: u64, receipt: u64, outcome: Outcome) {
        let Some(message) = self.messages.all.get(&seq) else {
            return;
        };
        let id = MessageId::of(&[outcome.name(), message.envelope.id.as_str(), &receipt.to_string()]);
        let note = message.envelope.follow(id, Body::Outcome(outcome));
        self.journal.push(note);
    }

    fn lose(&mut self, seq: u64, receipt: u64) {
        if self.weather.sabotage == Some(Sabotage::LossyQueue) {
            self.messages.all.remove(&seq);
            return;
        }
        let parked = {
            let Some(message) = self.messages.all.get_mut(&seq) else {
                return;
            };
            message.lost += 1;
            if message.lost >= MOST_LOSSES {
                let reason = format!("lost {} times", message.lost);
                message.state = State::Parked {
                    reason: reason.clone(),
                };
                Some(reason)
            } else {
                message.state = State::Waiting {
                    until: Instant::now(),
                };
                None
            }
        };
        self.say(|| format!("message {seq} comes back"));
        if let Some(reason) = parked {
            self.note(seq, receipt, Outcome::Parked { reason });
        }
    }

    fn take(&mut self, work: Work, most: usize) -> Vec<(u64, u64, Envelope)> {
        let now = Instant::now();
        let overdue: Vec<(u64, u64)> = self
            .messages
            .all
            .iter()
            .filter_map(|(seq, message)| match message.state {
                State::Out { receipt, until } if until <= now => Some((*seq, receipt)),
                _ => None,
            })
            .collect();
        for (seq, receipt) in overdue {
            self.lose(seq, receipt);
        }
        let busy = self.messages.busy(work);
        let ready: Vec<(u64, RepoId, bool)> = self
            .messages
            .all
            .iter()
            .filter(|(_, message)| message.work == work && !busy.contains(&message.envelope.repo.id))
            .filter(|(_, message)| matches!(message.state, State::Waiting { until } if until <= now))
            .map(|(seq, message)| (*seq, message.envelope.repo.id, message.failed + message.lost > 0))
            .collect();
        let repos: BTreeSet<RepoId> = ready.iter().map(|(_, repo, _)| *repo).collect();
        let repos: Vec<RepoId> = repos.into_iter().collect();
        let Some(repo) = self.dice.pick(&repos).copied() else {
            return Vec::new();
        };
        let mut queue = ready.into_iter().filter(|(_, of, _)| *of == repo);
        let mut batch = Vec::new();
        if work == Work::Plan {
            let queue: Vec<u64> = queue.map(|(seq, ..)| seq).collect();
            batch.extend(self.dice.pick(&queue).copied());
        } else if let Some((seq, _, counted)) = queue.next() {
            batch.push(seq);
            if !counted {
                batch.extend(
                    queue
                        .take_while(|(.., counted)| !counted)
                        .take(most - 1)
                        .map(|(seq, ..)| seq),
                );
            }
        }
        let until = now + self.weather.visibility;
        let mut taken = Vec::new();
        for seq in batch {
            self.messages.receipts += 1;
            let receipt = self.messages.receipts;
            let message = self.messages.all.get_mut(&seq).unwrap();
            message.state = State::Out { receipt, until };
            let mut envelope = message.envelope.clone();
            envelope.attempt = message.failed + message.lost;
            taken.push((seq, receipt, envelope));
        }
        taken
    }

    fn is_out(&self, seq: u64, receipt: u64) -> bool {
        self.messages
            .all
            .get(&seq)
            .is_some_and(|message| matches!(message.state, State::Out { receipt: out, .. } if out == receipt))
    }

    fn settle(&mut self, seq: u64, receipt: u64, verdict: Verdict) -> Settled {
        if !self.is_out(seq, receipt) {
            return Settled::Stale;
        }
        let again = self.weather.again;
        let again = self.dice.chance(again);
        let Some(message) = self.messages.all.get_mut(&seq) else {
            return Settled::Stale;
        };
        let now = Instant::now();
        match verdict {
            Verdict::Done if again && message.lost == 0 => {
                message.lost = 1;
                message.state = State::Waiting { until: now };
            }
            Verdict::Done => {
                self.messages.all.remove(&seq);
            }
            Verdict::Defer(wait) => message.state = State::Waiting { until: now + wait },
            Verdict::Park(reason) => {
                message.state = State::Parked {
                    reason: reason.clone(),
                };
                self.note(seq, receipt, Outcome::Parked { reason });
            }
        }
        Settled::Done
    }

    fn fail(&mut self, seq: u64, receipt: u64, reason: &str) -> Retried {
        if !self.is_out(seq, receipt) {
            return Retried::Stale;
        }
        let failed = {
            let message = self.messages.all.get_mut(&seq).unwrap();
            message.failed += 1;
            message.failed
        };
        if failed >= MOST_ATTEMPTS {
            let _done = self.settle(seq, receipt, Verdict::Park(reason.to_owned()));
            return Retried::Parked;
        }
        let wait = Duration::from_secs(5 * 2_u64.pow(failed.min(6)))
            + Duration::from_millis(self.dice.between(0, 4_000));
        let after_ms = u64::try_from(wait.as_millis()).unwrap_or(0);
        self.note(
            seq,
            receipt,
            Outcome::Retried {
                reason: reason.to_owned(),
                after_ms,
            },
        );
        let message = self.messages.all.get_mut(&seq).unwrap();
        message.state = State::Waiting {
            until: Instant::now() + wait,
        };
        Retried::After(wait)
    }
}

/// One process's connection to the queue.
#[derive(Clone, Debug)]
pub(crate) struct SimQueue(pub(crate) Hand);

#[derive(Debug)]
pub(crate) struct SimDelivery {
    hand: Hand,
    seq: u64,
    receipt: u64,
    envelope: Envelope,
    settled: bool,
}

fn broken() -> BackendError {
    BackendError::new("simulated")
}

impl SimQueue {
    fn wake(&self) {
        self.0.sim.signals().queue.notify_waiters();
    }
}

impl Queue for SimQueue {
    type Delivery = SimDelivery;

    async fn publish(&self, messages: &[Envelope]) -> Result<(), PublishError> {
        for message in messages {
            let message = message.clone();
            self.0
                .call(Kind::Own, "publishes", move |world| world.publish(vec![message]))
                .await
                .map_err(|_fault| PublishError::Backend(broken()))?;
            self.wake();
        }
        Ok(())
    }

    async fn receive(&self, work: Work, most: usize) -> Result<Option<Vec<SimDelivery>>, ReceiveError> {
        let hand = &self.0;
        loop {
            hand.alive().await;
            let changed = hand.sim.signals().queue.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let next = hand.sim.world().messages.next(work);
            if next.is_some_and(|next| next <= Instant::now()) {
                let taken = hand
                    .call(Kind::Own, "takes", move |world| world.take(work, most))
                    .await;
                let taken = taken.map_err(|_fault| ReceiveError::Backend(broken()))?;
                if !taken.is_empty() {
                    let deliveries = taken.into_iter().map(|(seq, receipt, envelope)| SimDelivery {
                        hand: hand.clone(),
                        seq,
                        receipt,
                        envelope,
                        settled: false,
                    });
                    return Ok(Some(deliveries.collect()));
                }
                continue;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = async {
                    match next {
                        Some(next) => sleep_until(next).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    async fn depth(&self, work: Work) -> Result<Depth, InspectError> {
        let world = self.0.sim.world();
        let mut depth = Depth::default();
        for message in world.messages.all.values().filter(|message| message.work == work) {
            match message.state {
                State::Waiting { until } if until > Instant::now() => depth.delayed += 1,
                State::Waiting { .. } => depth.ready += 1,
                State::Out { .. } => depth.in_flight += 1,
                State::Parked { .. } => depth.parked += 1,
            }
        }
        Ok(depth)
    }

    async fn parked(&self) -> Result<Vec<Parked>, InspectError> {
        let world = self.0.sim.world();
        let parked = world
            .messages
            .all
            .iter()
            .filter_map(|(seq, message)| match &message.state {
                State::Parked { reason } => Some(Parked {
                    id: ParkedId::new(seq.to_string()),
                    work: message.work,
                    content: Content::Envelope(Box::new(message.envelope.clone())),
                    reason: reason.clone(),
                    attempts: message.failed + message.lost,
                    parked_at: world.now() * 1000,
                }),
                _ => None,
            });
        Ok(parked.collect())
    }

    async fn release(&self, id: &ParkedId) -> Result<bool, InspectError> {
        let mut world = self.0.sim.world();
        let seq: u64 = id.as_str().parse().unwrap_or(0);
        let Some(message) = world.messages.all.get_mut(&seq) else {
            return Ok(false);
        };
        message.state = State::Waiting {
            until: Instant::now(),
        };
        (message.failed, message.lost) = (0, 0);
        drop(world);
        self.wake();
        Ok(true)
    }
}

impl Journal for SimQueue {
    async fn append(&self, messages: &[Envelope]) -> Result<(), JournalError> {
        let messages = messages.to_vec();
        self.0
            .call(Kind::Own, "records", move |world| world.journal.extend(messages))
            .await
            .map_err(|_fault| JournalError::Backend(broken()))
    }

    async fn read(&self, after: Offset, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        let world = self.0.sim.world();
        let recorded = world
            .journal
            .iter()
            .zip(1..)
            .filter(|(_, offset)| *offset > after.0)
            .take(limit);
        Ok(recorded
            .map(|(envelope, offset)| Recorded {
                offset: Offset(offset),
                recorded_at: world.now() * 1000,
                content: Content::Envelope(Box::new(envelope.clone())),
            })
            .collect())
    }

    async fn changed(&self, after: Offset) {
        while self.0.sim.world().journal.len() as u64 <= after.0 {
            self.0.sim.signals().queue.notified().await;
        }
    }
}

impl SimDelivery {
    /// Publishes what follows, and then settles; in one act where the queue can do that.
    async fn finish(
        mut self,
        name: &'static str,
        follow: Vec<Envelope>,
        verdict: Verdict,
    ) -> Result<Settled, SettleError> {
        let (seq, receipt) = (self.seq, self.receipt);
        let (atomic, forgets) = {
            let mut world = self.hand.sim.world();
            let sabotaged = world.weather.sabotage == Some(Sabotage::ForgetfulQueue);
            (world.weather.atomic, sabotaged && world.dice.chance(200))
        };
        let mut follow = if forgets { Vec::new() } else { follow };
        if !atomic {
            for message in std::mem::take(&mut follow) {
                self.hand
                    .call(Kind::Own, "publishes", move |world| world.publish(vec![message]))
                    .await
                    .map_err(|_fault| SettleError::Backend(broken()))?;
                self.hand.sim.signals().queue.notify_waiters();
            }
        }
        let settled = self
            .hand
            .call(Kind::Own, name, move |world| {
                let settled = world.settle(seq, receipt, verdict);
                if settled == Settled::Done {
                    world.publish(follow);
                }
                settled
            })
            .await
            .map_err(|_fault| SettleError::Backend(broken()))?;
        self.settled = true;
        self.hand.sim.signals().queue.notify_waiters();
        Ok(settled)
    }
}

impl Delivery for SimDelivery {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn attempt(&self) -> u32 {
        self.envelope.attempt
    }

    async fn ack(self, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        self.finish("acks", follow, Verdict::Done).await
    }

    async fn retry(mut self, reason: &str, last_words: Vec<Envelope>) -> Result<Retried, SettleError> {
        let (seq, receipt, reason) = (self.seq, self.receipt, reason.to_owned());
        let retried = self
            .hand
            .call(Kind::Own, "retries later", move |world| {
                world.say(|| format!("   since {reason}"));
                let retried = world.fail(seq, receipt, &reason);
                if retried == Retried::Parked {
                    world.publish(last_words);
                }
                retried
            })
            .await
            .map_err(|_fault| SettleError::Backend(broken()))?;
        self.settled = true;
        self.hand.sim.signals().queue.notify_waiters();
        Ok(retried)
    }

    async fn defer(self, after: Duration, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        self.finish("defers", follow, Verdict::Defer(after)).await
    }

    async fn park(self, reason: &str, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        let verdict = Verdict::Park(reason.to_owned());
        self.finish("parks", follow, verdict).await
    }

    async fn keep(&self) -> Result<Settled, SettleError> {
        let (seq, receipt) = (self.seq, self.receipt);
        self.hand
            .call(Kind::Own, "keeps", move |world| {
                let until = Instant::now() + world.weather.visibility;
                if !world.is_out(seq, receipt) {
                    return Settled::Stale;
                }
                world.messages.all.get_mut(&seq).unwrap().state = State::Out { receipt, until };
                Settled::Done
            })
            .await
            .map_err(|_fault| SettleError::Backend(broken()))
    }
}

impl Drop for SimDelivery {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut world = self.hand.sim.world();
            world.violate(format!("a handler panicked over {}", self.envelope.id));
        }
        if self.settled || self.hand.is_dead() {
            return;
        }
        let mut world = self.hand.sim.world();
        if world.is_out(self.seq, self.receipt) {
            world.lose(self.seq, self.receipt);
        }
        drop(world);
        self.hand.sim.signals().queue.notify_waiters();
    }
}
