use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_tasks_to_finish_what_they_have() {
    let shutdown = Shutdown::new();
    let finished = Arc::new(AtomicBool::new(false));
    let (theirs, inside) = (shutdown.clone(), Arc::clone(&finished));
    drop(shutdown.spawn("worker", async move {
        theirs.draining().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        inside.store(true, Ordering::SeqCst);
    }));
    let drained = shutdown.drain(MINUTE).await.unwrap();
    assert!(finished.load(Ordering::SeqCst));
    assert_eq!(
        drained,
        Drained {
            signal: None,
            in_time: true,
            left_behind: vec![]
        }
    );
    assert!(shutdown.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_tasks_are_cancelled() {
    let shutdown = Shutdown::new();
    let theirs = shutdown.clone();
    drop(shutdown.spawn("slow", async move { theirs.cancelled().await }));
    let drained = shutdown.drain(MINUTE).await.unwrap();
    assert!(!drained.in_time);
    assert!(drained.left_behind.is_empty());
    assert!(shutdown.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_never_stops_is_named_and_left_behind() {
    let shutdown = Shutdown::new();
    drop(shutdown.spawn("stuck", std::future::pending::<()>()));
    let drained = shutdown.drain(MINUTE).await.unwrap();
    assert_eq!(drained.left_behind, ["stuck"]);
}

#[tokio::test]
async fn a_panic_of_one_task_leaves_the_others_alone() {
    let shutdown = Shutdown::new();
    let panicked = shutdown.spawn("broken", async { panic!("no luck") });
    let panicked: Result<(), Panicked> = panicked.await.unwrap();
    assert_eq!(panicked.unwrap_err().message, "no luck");
    assert!(!shutdown.is_draining());
    let other = shutdown.spawn("other", async { 3 });
    assert_eq!(other.await.unwrap(), Ok(3));
    assert!(shutdown.drain(MINUTE).await.is_ok());
}

#[tokio::test]
async fn the_end_of_a_critical_task_ends_the_process_with_the_reason() {
    for (task, reason) in [
        (0, "disk full"),
        (1, "panicked: no luck"),
        (2, "it returned although no shutdown had begun"),
    ] {
        let shutdown = Shutdown::new();
        drop(shutdown.spawn_critical("store", async move {
            match task {
                0 => Err(std::io::Error::other("disk full")),
                1 => panic!("no luck"),
                _ => Ok(()),
            }
        }));
        shutdown.draining().await;
        let failed = shutdown.drain(MINUTE).await.unwrap_err();
        assert_eq!(failed.task, "store");
        assert_eq!(failed.reason.to_string(), reason);
    }
}

#[tokio::test]
async fn a_critical_task_that_returns_during_the_drain_is_no_failure() {
    let shutdown = Shutdown::new();
    let theirs = shutdown.clone();
    drop(shutdown.spawn_critical("server", async move {
        theirs.draining().await;
        Ok::<(), std::io::Error>(())
    }));
    assert!(shutdown.drain(MINUTE).await.is_ok());
}

#[tokio::test]
async fn a_signal_begins_the_drain_and_is_remembered() {
    let shutdown = Shutdown::new();
    shutdown.signalled(Signal::Terminate);
    shutdown.draining().await;
    let drained = shutdown.drain(MINUTE).await.unwrap();
    assert_eq!(drained.signal.map(Signal::exit_code), Some(143));
}
