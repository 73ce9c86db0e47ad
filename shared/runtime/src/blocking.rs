//! Work that blocks, away from the threads that drive the tasks.

use std::panic::resume_unwind;

/// Runs `work` on a thread for blocking work, inside the caller's span, and returns what it returned.
///
/// It can't be cancelled: dropping the future leaves the work running to its end. A panic of the work goes on in the caller. When
/// the whole runtime stops before the work began, the future never ends; it is dropped with the runtime.
pub async fn blocking<T, F>(work: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let span = tracing::Span::current();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that carries the span along"
    )]
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    match done {
        Ok(value) => value,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_stopped) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::thread::ThreadId;

    use tracing::Instrument as _;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt as _};
    use tracing_subscriber::util::SubscriberInitExt as _;

    use super::*;

    #[tokio::test]
    async fn blocking_work_hands_its_value_back_and_leaves_the_tasks_running() {
        let (sender, receiver) = std::sync::mpsc::channel::<u8>();
        let waiting = tokio::spawn(blocking(move || receiver.recv().unwrap() + 1));
        sender.send(1).unwrap();
        assert_eq!(waiting.await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_panic_of_blocking_work_goes_on_in_the_caller() {
        let failed = tokio::spawn(blocking(|| -> () { panic!("broken") })).await;
        assert!(failed.unwrap_err().is_panic());
    }

    /// Notes on which threads a span was entered.
    #[derive(Clone, Default)]
    struct Entered(Arc<Mutex<Vec<ThreadId>>>);

    impl<S: tracing::Subscriber> Layer<S> for Entered {
        fn on_enter(&self, _: &tracing::span::Id, _: Context<'_, S>) {
            self.0.lock().unwrap().push(std::thread::current().id());
        }
    }

    #[tokio::test]
    async fn blocking_work_runs_inside_the_span_of_its_caller() {
        let entered = Entered::default();
        let _default = tracing_subscriber::registry().with(entered.clone()).set_default();
        let worker = blocking(|| std::thread::current().id())
            .instrument(tracing::info_span!("caller"))
            .await;
        assert_ne!(worker, std::thread::current().id());
        assert!(entered.0.lock().unwrap().contains(&worker));
    }
}
