//! Reads a body up to a cap, in time, and within a budget of memory that all deliveries share.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which memory is shared out.
const BLOCK: usize = 1024;
/// What a body begins with at most, whatever its head announces; most deliveries fit.
const FIRST: usize = 64 * BLOCK;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("it is longer than the {} bytes that a webhook may have", .0)]
    TooLarge(usize),
    #[error("its body did not arrive within {0:?}")]
    Slow(Duration),
    #[error("its body ended before all of it had arrived")]
    Broken,
    #[error("too many large deliveries are in hand")]
    Busy,
}

/// The limits on bodies.
pub(crate) struct Bodies {
    max: usize,
    timeout: Duration,
    memory: Arc<Semaphore>,
}

/// A body, and its share of the memory for as long as it is there.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl Bodies {
    pub(crate) fn new(max: usize, max_buffered: usize, timeout: Duration) -> Self {
        Self {
            max,
            timeout,
            memory: Arc::new(Semaphore::new(
                max_buffered.div_ceil(BLOCK).min(Semaphore::MAX_PERMITS),
            )),
        }
    }

    /// Whether the headers alone say that the body is too long.
    pub(crate) fn announced(&self, headers: &HeaderMap) -> Result<(), BodyError> {
        let length = headers.get(header::CONTENT_LENGTH);
        let length: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length| length > self.max as u64) {
            return Err(BodyError::TooLarge(self.max));
        }
        Ok(())
    }

    pub(crate) async fn read(&self, body: Body) -> Result<Received, BodyError> {
        tokio::time::timeout(self.timeout, self.collect(body))
            .await
            .unwrap_or(Err(BodyError::Slow(self.timeout)))
    }

    async fn collect(&self, mut body: Body) -> Result<Received, BodyError> {
        let announced = body
            .size_hint()
            .exact()
            .and_then(|length| usize::try_from(length).ok());
        let mut share = self.share(0)?;
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_closed| BodyError::Broken)?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = bytes.len() + data.len();
            if length > self.max {
                return Err(BodyError::TooLarge(self.max));
            }
            if bytes.is_empty() && announced == Some(data.len()) {
                // All of it has come at once: it stays where it is.
                share.merge(self.share(data.len())?);
                let bytes = data;
                return Ok(Received { bytes, _share: share });
            }
            if length > bytes.capacity() {
                // Twice as much each time, so that a body is moved seldom; never more than the cap.
                let first = announced.map_or(FIRST, |length| length.min(FIRST));
                let capacity = (bytes.capacity() * 2).max(first).min(self.max).max(length);
                share.merge(self.share(capacity - bytes.capacity())?);
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        let bytes = Bytes::from(bytes);
        Ok(Received { bytes, _share: share })
    }

    fn share(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let blocks = u32::try_from(bytes.div_ceil(BLOCK)).map_err(|_huge| BodyError::Busy)?;
        let memory = Arc::clone(&self.memory);
        memory
            .try_acquire_many_owned(blocks)
            .map_err(|_none_left| BodyError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(max: usize, max_buffered: usize) -> Bodies {
        Bodies::new(max, max_buffered, Duration::from_secs(10))
    }

    #[tokio::test]
    async fn the_memory_of_all_bodies_together_is_bounded_and_comes_back() {
        let bodies = bodies(100 * BLOCK, 150 * BLOCK);
        let first = bodies.read(Body::from(vec![1; 100 * BLOCK])).await;
        let refused = bodies.read(Body::from(vec![1; 90 * BLOCK])).await.err();
        assert_eq!(refused, Some(BodyError::Busy));
        drop(first);
        assert!(bodies.read(Body::from(vec![1; 90 * BLOCK])).await.is_ok());
        assert_eq!(bodies.memory.available_permits(), 150);
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_cap_is_read_whole() {
        let bodies = bodies(10, 100 * BLOCK);
        let read = bodies.read(Body::from("0123456789")).await.ok();
        assert_eq!(
            read.map(|read| read.bytes),
            Some(Bytes::from_static(b"0123456789"))
        );
        let refused = bodies.read(Body::from("0123456789a")).await.err();
        assert_eq!(refused, Some(BodyError::TooLarge(10)));
    }
}
