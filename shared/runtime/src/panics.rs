//! A panic as a value, so that one broken request or task never takes its neighbours along.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// A piece of work panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {message}")]
pub struct Panicked {
    /// What the panic said.
    pub message: String,
}

impl Panicked {
    pub(crate) fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&'static str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "(a panic without a text)".to_owned());
        Self { message }
    }
}

/// Runs `future` to its end, and catches a panic of it.
///
/// What the future shared with others and had half changed stays as it was at the panic, so share only what keeps its own order:
/// channels, atomics, a database.
///
/// # Errors
/// When it panicked.
pub async fn catch<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(payload) => Poll::Ready(Err(Panicked::from_payload(payload.as_ref()))),
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error_with_its_text() {
        let number = 7;
        let failed = catch(async move { panic!("no {number}") }).await.map(|(): ()| ());
        assert_eq!(failed.unwrap_err().message, "no 7");
        assert_eq!(catch(async { 1 }).await, Ok(1));
    }
}
