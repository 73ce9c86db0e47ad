//! libgit2 blocks, so it runs on tokio's blocking threads.

use tracing::Span;

/// Runs `work` on a blocking thread, inside the span of the caller.
///
/// Dropping the future does not stop the work; everything that is run here is safe to finish unobserved.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let span = Span::current();
    #[expect(
        clippy::disallowed_methods,
        reason = "shared crates do not see lockflight-runtime; this carries the span just as it does"
    )]
    let task = tokio::task::spawn_blocking(move || span.in_scope(work));
    match task.await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down and will not poll this again.
            Err(_) => std::future::pending().await,
        },
    }
}
