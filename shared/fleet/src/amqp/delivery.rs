//! A message in a worker's hands.

use std::sync::Arc;
use std::time::Duration;

use lockflight_promotion::message::Envelope;

use super::intake::Intake;
use super::lanes::Ticket;
use super::message::{Incoming, Outgoing, Unfit};
use crate::{Delivery, Retried, SettleError, Settled};

/// A message in a worker's hands. Dropping it unsettled gives it back, counted.
#[derive(Debug)]
pub struct AmqpDelivery {
    intake: Arc<Intake>,
    ticket: Ticket,
    incoming: Arc<Incoming>,
    envelope: Box<Envelope>,
    /// Nothing is left to do when it is dropped.
    settled: bool,
}

impl AmqpDelivery {
    pub(super) fn new(
        intake: Arc<Intake>,
        ticket: Ticket,
        incoming: Arc<Incoming>,
        mut envelope: Box<Envelope>,
    ) -> Self {
        envelope.attempt = incoming.attempt();
        Self {
            intake,
            ticket,
            incoming,
            envelope,
            settled: false,
        }
    }

    /// Whether it is still ours to settle. If so, it is not taken away any more.
    fn claim(&self) -> bool {
        self.intake.claim(self.ticket, &self.incoming)
    }

    fn follow(&self, follow: &[Envelope]) -> Result<Vec<Outgoing>, Unfit> {
        let fates = &self.intake.fates;
        let events = follow.iter();
        events
            .map(|envelope| Outgoing::event(envelope, &fates.names, fates.options.max_message))
            .collect()
    }

    /// Publishes what follows, and then acknowledges the message, which was claimed before. What can't be published now is tried again in
    /// the background for as long as the message is ours: letting go of it would have its work done anew.
    ///
    /// What is new, which the journal has to take, goes first: what takes the message's place must not be published again each time that the
    /// journal does not.
    async fn settle(mut self, publish: Vec<Outgoing>) -> Result<Settled, SettleError> {
        let (new, instead): (Vec<_>, Vec<_>) = publish.into_iter().partition(|message| message.journaled);
        let publisher = &self.intake.publisher;
        let (published, left) = match publisher.publish(new.clone()).await {
            Ok(()) => (publisher.publish(instead.clone()).await, instead),
            Err(error) => (Err(error), new.into_iter().chain(instead).collect()),
        };
        if let Err(error) = published {
            self.settled = true;
            self.intake.move_on(self.ticket, &self.incoming, left);
            return Err(error.into());
        }
        crate::failpoint::reached("worker.followed");
        let acknowledged = self.incoming.acknowledge().await;
        self.settled = true;
        self.intake.finish(self.ticket, &self.incoming);
        match acknowledged {
            Ok(true) => Ok(Settled::Done),
            // Its channel died before: the broker hands it out once more.
            Ok(false) => Ok(Settled::Stale),
            Err(error) => Err(SettleError::Backend(error)),
        }
    }

    /// A message that follows can't be published, whoever tries. One that is too large is the end of this one too: it is parked, so that a
    /// person learns of it.
    async fn unfit(self, unfit: Unfit, reason: &str) -> SettleError {
        let error = SettleError::from(unfit);
        if !matches!(error, SettleError::TooLarge { .. }) {
            return error;
        }
        let reason = match reason {
            "" => error.to_string(),
            reason => format!("{reason}; {error}"),
        };
        let publish = self.intake.fates.parked(&self.incoming, &reason);
        match self.settle(publish).await {
            Ok(_) => error,
            Err(unsettled) => unsettled,
        }
    }
}

impl Delivery for AmqpDelivery {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn attempt(&self) -> u32 {
        self.envelope.attempt
    }

    fn failures(&self) -> u32 {
        self.incoming.failed
    }

    async fn ack(self, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        if !self.claim() {
            return Ok(Settled::Stale);
        }
        match self.follow(&follow) {
            Ok(publish) => self.settle(publish).await,
            Err(unfit) => Err(self.unfit(unfit, "").await),
        }
    }

    async fn retry(self, reason: &str, last_words: Vec<Envelope>) -> Result<Retried, SettleError> {
        if !self.claim() {
            return Ok(Retried::Stale);
        }
        let (retried, mut publish) = self.intake.fates.failed(&self.incoming, reason);
        if retried == Retried::Parked {
            match self.follow(&last_words) {
                Ok(last_words) => publish.extend(last_words),
                Err(unfit) => return Err(self.unfit(unfit, reason).await),
            }
        }
        Ok(match self.settle(publish).await? {
            Settled::Done => retried,
            Settled::Stale => Retried::Stale,
        })
    }

    async fn defer(self, after: Duration, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        if !self.claim() {
            return Ok(Settled::Stale);
        }
        match self.follow(&follow) {
            Ok(mut publish) => {
                publish.push(self.intake.fates.deferred(&self.incoming, after));
                self.settle(publish).await
            }
            Err(unfit) => Err(self.unfit(unfit, "").await),
        }
    }

    async fn park(self, reason: &str, follow: Vec<Envelope>) -> Result<Settled, SettleError> {
        if !self.claim() {
            return Ok(Settled::Stale);
        }
        match self.follow(&follow) {
            Ok(follow) => {
                let mut publish = self.intake.fates.parked(&self.incoming, reason);
                publish.extend(follow);
                self.settle(publish).await
            }
            Err(unfit) => Err(self.unfit(unfit, reason).await),
        }
    }

    async fn keep(&self) -> Result<Settled, SettleError> {
        let kept = self.intake.keep(self.ticket, &self.incoming);
        Ok(if kept { Settled::Done } else { Settled::Stale })
    }
}

impl Drop for AmqpDelivery {
    fn drop(&mut self) {
        if !self.settled {
            self.intake
                .dropped(self.ticket, &self.incoming, std::thread::panicking());
        }
    }
}
