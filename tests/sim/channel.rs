//! One process's connection to the queue, and what was handed out to it.

use std::time::Duration;

use lockflight_fleet::{
    BackendError, Content, Delivery, Depth, InspectError, Journal, JournalError, Offset, Parked, ParkedId,
    PublishError, Queue, ReceiveError, Recorded, Retried, SettleError, Settled, Work,
};
use lockflight_promotion::message::Envelope;
use tokio::time::{Instant, sleep_until};

use crate::process::{Hand, Kind};
use crate::queue::{State, Verdict};
use crate::weather::Sabotage;

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

    fn failures(&self) -> u32 {
        self.hand.sim.world().failures(self.seq)
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
