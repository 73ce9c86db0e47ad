//! A message in a worker's hands.

use std::time::Duration;

use lockflight_promotion::message::Envelope;

use super::EmbeddedFleet;
use super::messages::{Receipt, Taken};
use super::settle::Verdict;
use crate::wire::Encoded;
use crate::{Delivery, Retried, SettleError, Settled};

/// A message in a worker's hands. Dropping it unsettled gives it back.
#[derive(Debug)]
pub struct EmbeddedDelivery {
    fleet: EmbeddedFleet,
    receipt: Receipt,
    envelope: Box<Envelope>,
    failures: u32,
    stage: Stage,
}

/// What dropping it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has seen it yet: it goes back as if it had never been taken.
    Taken,
    /// A worker has it: it goes back, counted.
    Handed,
    /// It is settled, or it is known to be stale.
    Settled,
}

impl EmbeddedDelivery {
    pub(super) fn new(fleet: EmbeddedFleet, taken: Taken) -> Self {
        Self {
            fleet,
            receipt: taken.receipt,
            envelope: taken.envelope,
            failures: taken.failures,
            stage: Stage::Taken,
        }
    }

    pub(super) fn hand_out(mut self) -> Self {
        self.stage = Stage::Handed;
        self
    }

    async fn settle(mut self, verdict: Verdict, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        let follow = Encoded::all(&follow).map_err(SettleError::Encode)?;
        let receipt = self.receipt;
        let settled = self
            .fleet
            .inner
            .store
            .run(move |session| session.settle(receipt, &verdict, &follow))
            .await?;
        self.stage = Stage::Settled;
        Ok(settled)
    }
}

impl Delivery for EmbeddedDelivery {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn attempt(&self) -> u32 {
        self.envelope.attempt
    }

    fn failures(&self) -> u32 {
        self.failures
    }

    async fn ack(self, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        self.settle(Verdict::Done, follow).await
    }

    async fn retry(mut self, reason: &str, last_words: Vec<Envelope>) -> Result<Retried, SettleError> {
        let last_words = Encoded::all(&last_words).map_err(SettleError::Encode)?;
        let receipt = self.receipt;
        let reason = reason.to_owned();
        let retried = self
            .fleet
            .inner
            .store
            .run(move |session| session.retry(receipt, &reason, &last_words))
            .await?;
        self.stage = Stage::Settled;
        Ok(retried)
    }

    async fn defer(self, after: Duration, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        self.settle(Verdict::Defer(after), follow).await
    }

    async fn park(self, reason: &str, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        self.settle(Verdict::Park(reason.to_owned()), follow).await
    }

    async fn keep(&self) -> Result<Settled, SettleError> {
        let receipt = self.receipt;
        Ok(self
            .fleet
            .inner
            .store
            .run(move |session| session.keep(receipt))
            .await?)
    }
}

impl Drop for EmbeddedDelivery {
    fn drop(&mut self) {
        let receipt = self.receipt;
        let store = &self.fleet.inner.store;
        match self.stage {
            Stage::Settled => {}
            Stage::Taken => store.post("put a message back", move |session| session.put_back(receipt)),
            // After a panic the message itself may be the cause: wait before the next worker meets it.
            Stage::Handed if std::thread::panicking() => {
                store.post("give a message back", move |session| {
                    session.retry(receipt, "the worker panicked", &[]).map(drop)
                });
            }
            Stage::Handed => store.post("give a message back", move |session| {
                session.lose(receipt, "its worker let go of it without a word")
            }),
        }
    }
}
