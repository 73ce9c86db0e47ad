//! The queue port on the embedded store.

use lockflight_promotion::message::Envelope;

use super::messages::Next;
use super::store::StoreError;
use super::{EmbeddedDelivery, EmbeddedFleet};
use crate::wire::Encoded;
use crate::{Depth, InspectError, Parked, ParkedId, PublishError, Queue, ReceiveError, Work};

impl EmbeddedFleet {
    /// Takes the next message of that work, if one is due now.
    ///
    /// # Errors
    /// When the queue can't be read.
    pub async fn try_receive(&self, work: Work) -> Result<Option<EmbeddedDelivery>, ReceiveError> {
        match self.take(work, 1).await? {
            Next::Taken(batch) => Ok(batch.into_iter().next().map(EmbeddedDelivery::hand_out)),
            Next::Nothing { .. } => Ok(None),
        }
    }

    async fn take(&self, work: Work, most: usize) -> Result<Next<Vec<EmbeddedDelivery>>, StoreError> {
        // The deliveries are made on the store's thread: if nobody waits for the answer any more, dropping them puts the messages back.
        let fleet = self.clone();
        self.inner
            .store
            .run(move |session| {
                Ok(match session.take(work, most)? {
                    Next::Taken(batch) => {
                        let made = |taken| EmbeddedDelivery::new(fleet.clone(), taken);
                        Next::Taken(batch.into_iter().map(made).collect())
                    }
                    Next::Nothing { due_at } => Next::Nothing { due_at },
                })
            })
            .await
    }

    #[cfg(any(test, feature = "testing"))]
    /// Puts bytes on a queue as they are, for tests of what can't be read.
    ///
    /// # Errors
    /// When the queue can't be written.
    pub async fn inject(
        &self,
        work: Work,
        repo: lockflight_promotion::RepoId,
        bytes: Vec<u8>,
    ) -> Result<(), PublishError> {
        Ok(self
            .inner
            .store
            .run(move |session| {
                let now = session.clock().time_of_day();
                session.insert(work, repo.get().cast_signed(), None, now, &bytes)
            })
            .await?)
    }
}

impl Queue for EmbeddedFleet {
    type Delivery = EmbeddedDelivery;

    async fn publish(&self, messages: &[Envelope]) -> Result<(), PublishError> {
        if messages.is_empty() {
            return Ok(());
        }
        let messages = Encoded::all(messages).map_err(PublishError::Encode)?;
        Ok(self
            .inner
            .store
            .run(move |session| session.publish(&messages))
            .await?)
    }

    async fn receive(&self, work: Work, most: usize) -> Result<Option<Vec<EmbeddedDelivery>>, ReceiveError> {
        let mut changed = self.signals().subscribe(work);
        let mut closing = self.closing();
        loop {
            changed.mark_unchanged();
            if *closing.borrow_and_update() {
                return Ok(None);
            }
            let due_at = match self.take(work, most).await {
                Ok(Next::Taken(batch)) => {
                    return Ok(Some(batch.into_iter().map(EmbeddedDelivery::hand_out).collect()));
                }
                Ok(Next::Nothing { due_at }) => due_at,
                Err(StoreError::Closed) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let due = async {
                match due_at {
                    Some(due_at) => self.inner.options.clock.sleep_until(due_at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changed.changed() => {}
                _ = closing.changed() => {}
                () = due => {}
            }
        }
    }

    async fn depth(&self, work: Work) -> Result<Depth, InspectError> {
        Ok(self.inner.store.run(move |session| session.depth(work)).await?)
    }

    async fn parked(&self) -> Result<Vec<Parked>, InspectError> {
        Ok(self.inner.store.run(|session| session.parked()).await?)
    }

    async fn release(&self, id: &ParkedId) -> Result<bool, InspectError> {
        let id = id.clone();
        Ok(self.inner.store.run(move |session| session.release(&id)).await?)
    }
}
