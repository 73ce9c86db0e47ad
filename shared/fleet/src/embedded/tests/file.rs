//! Opening, locking and pruning the file.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::World;
use crate::contract::sample::{delivery, outcome, step};
use crate::embedded::{EmbeddedFleet, EmbeddedOptions, JournalLimits, OpenError};
use crate::{Delivery as _, Journal as _, Offset, PublishError, Queue as _, RepoLock as _, Settled, Work};

#[tokio::test]
async fn a_file_in_use_is_refused_until_the_other_has_stopped() {
    let world = World::new().await;
    let refused = EmbeddedFleet::open(world.path(), world.options.clone()).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(
        error.to_string().contains("another Lockflight process"),
        "{error}"
    );
    world.fleet.stop().await;
    EmbeddedFleet::open(world.path(), world.options.clone())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_file_is_free_again_when_the_last_handle_is_gone() {
    let World {
        fleet,
        options,
        directory,
        ..
    } = World::new().await;
    let path = directory.path().join("queue.db");
    fleet.publish(&[step(1, "s1")]).await.unwrap();
    let held = fleet.receive(Work::Steps, 1).await.unwrap();
    drop(fleet);
    let refused = EmbeddedFleet::open(&path, options.clone()).await;
    assert!(
        matches!(refused, Err(OpenError::InUse { .. })),
        "the delivery keeps it open"
    );
    drop(held);
    // The thread ends on its own time.
    let reopened = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match EmbeddedFleet::open(&path, options.clone()).await {
                Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                other => return other.unwrap(),
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(reopened.depth(Work::Steps).await.unwrap().ready, 1);
}

#[tokio::test]
async fn a_child_process_that_is_being_started_does_not_keep_the_file_locked() {
    // Between fork and exec a child shares the lock file's descriptor, and with it the lock. We start `git` all the time.
    let mut world = World::new().await;
    let done = std::sync::Arc::new(AtomicBool::new(false));
    let starter = std::thread::spawn({
        let done = std::sync::Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                let mut child = Command::new(std::env::current_exe().unwrap());
                let child = child.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
                child.status().unwrap();
            }
        }
    });
    for _ in 0..200 {
        world = world.reopen().await;
    }
    done.store(true, Ordering::Relaxed);
    starter.join().unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let world = World::new().await;
    world.fleet.stop().await;
    let connection = Connection::open(world.path()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = EmbeddedFleet::open(world.path(), world.options.clone())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("CREATE TABLE theirs (x INTEGER)")
        .unwrap();
    drop(connection);
    let error = EmbeddedFleet::open(&path, EmbeddedOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    let text = directory.path().join("notes.txt");
    std::fs::write(
        &text,
        "This is no database, but long enough to look like a file. ".repeat(20),
    )
    .unwrap();
    let error = EmbeddedFleet::open(&text, EmbeddedOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Database { .. }), "{error:?}");
    assert!(
        std::fs::read_to_string(&text)
            .unwrap()
            .starts_with("This is no database")
    );
}

#[tokio::test]
async fn a_missing_directory_is_made_and_a_file_in_its_place_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("a/b/queue.db");
    EmbeddedFleet::open(&deep, EmbeddedOptions::default())
        .await
        .unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let below = directory.path().join("file/queue.db");
    let error = EmbeddedFleet::open(&below, EmbeddedOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn a_stopped_fleet_says_so_everywhere() {
    let world = World::new().await;
    world.fleet.publish(&[step(1, "s1")]).await.unwrap();
    let held = world
        .fleet
        .receive(Work::Steps, 1)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    world.fleet.stop().await;
    assert!(matches!(
        world.fleet.publish(&[step(1, "s2")]).await,
        Err(PublishError::Closed)
    ));
    assert!(world.fleet.receive(Work::Steps, 1).await.unwrap().is_none());
    assert!(held.ack(Vec::new()).await.is_err());
    assert!(
        world
            .fleet
            .acquire(lockflight_promotion::RepoId::new(1))
            .await
            .is_err()
    );
    world.fleet.changed(Offset(1_000)).await;
    assert!(world.fleet.read(Offset::START, 1).await.is_err());
    world.fleet.quiet().await;
    world.fleet.stop().await;
}

#[tokio::test]
async fn a_stale_acknowledgement_publishes_nothing() {
    let world = World::new().await;
    world.fleet.publish(&[delivery(1, "d1")]).await.unwrap();
    let late = world
        .fleet
        .receive(Work::Plan, 1)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    world.clock.advance(world.options.visibility);
    let again = world
        .fleet
        .receive(Work::Plan, 1)
        .await
        .unwrap()
        .unwrap()
        .remove(0);
    assert_eq!(late.ack(vec![step(1, "s1")]).await.unwrap(), Settled::Stale);
    assert_eq!(world.fleet.depth(Work::Steps).await.unwrap().ready, 0);
    assert_eq!(again.ack(vec![step(1, "s1")]).await.unwrap(), Settled::Done);
    assert_eq!(world.fleet.depth(Work::Steps).await.unwrap().ready, 1);
}

#[tokio::test]
async fn a_message_that_takes_the_process_down_each_time_is_parked() {
    let mut world = World::new().await;
    let losses = world.options.max_losses;
    world.fleet.publish(&[step(1, "s1")]).await.unwrap();
    for loss in 0..losses {
        let held = world
            .fleet
            .receive(Work::Steps, 1)
            .await
            .unwrap()
            .unwrap()
            .remove(0);
        assert_eq!(held.attempt(), loss);
        world = world.reopen().await;
    }
    let parked = world.fleet.parked().await.unwrap();
    assert_eq!(parked.len(), 1);
    assert!(
        parked[0].reason.contains("the process ended"),
        "{}",
        parked[0].reason
    );
    assert_eq!(parked[0].attempts, losses);
}

#[tokio::test]
async fn what_an_older_version_could_not_read_is_tried_again_by_the_next() {
    let world = World::with(|options| options.max_attempts = 1).await;
    let mut newer = serde_json::to_value(step(1, "s1")).unwrap();
    newer["body"]["type"] = "step.teleport.v7".into();
    let repo = lockflight_promotion::RepoId::new(1);
    world
        .fleet
        .inject(Work::Steps, repo, serde_json::to_vec(&newer).unwrap())
        .await
        .unwrap();
    assert!(world.fleet.try_receive(Work::Steps).await.unwrap().is_none());
    assert_eq!(world.fleet.parked().await.unwrap().len(), 1);
    // The upgrade: here the message changes instead of the program.
    world.fleet.stop().await;
    let connection = Connection::open(world.path()).unwrap();
    let readable = serde_json::to_vec(&step(1, "s1")).unwrap();
    connection
        .execute("UPDATE messages SET envelope = ?1", [readable])
        .unwrap();
    drop(connection);
    let world = world.reopen().await;
    let again = world.fleet.try_receive(Work::Steps).await.unwrap().unwrap();
    assert_eq!(again.attempt(), 0);
}

#[tokio::test]
async fn the_journal_keeps_within_its_limits_and_its_offsets_go_on() {
    let mut world = World::with(|options| {
        options.journal = JournalLimits {
            max_age: Some(Duration::from_hours(1)),
            max_bytes: Some(100_000),
        };
    })
    .await;
    let batch: Vec<_> = (0..500).map(|n| outcome(1, &format!("o{n}"))).collect();
    for _ in 0..6 {
        world.fleet.append(&batch).await.unwrap();
    }
    world = world.reopen().await;
    let first = world.fleet.read(Offset::START, 1_000).await.unwrap();
    let bytes: usize = first
        .iter()
        .map(|record| serde_json::to_vec(record.envelope().unwrap()).unwrap().len())
        .sum();
    assert!(bytes <= 100_000 && bytes > 50_000, "{bytes}");
    assert_eq!(first.last().unwrap().offset, Offset(3_000), "the newest are kept");
    world.clock.advance(Duration::from_hours(2));
    world = world.reopen().await;
    let left = world.fleet.read(Offset::START, 1_000).await.unwrap();
    assert_eq!(left.len(), 1, "the last one stays");
    world.fleet.append(&[outcome(1, "new")]).await.unwrap();
    let newest = world.fleet.read(Offset(3_000), 1).await.unwrap();
    assert_eq!(newest[0].offset, Offset(3_001));
}
