//! `kill -9`: a child process, this test binary once more, publishes until it is killed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::contract::sample::step;
use crate::embedded::{EmbeddedFleet, EmbeddedOptions};
use crate::{Delivery as _, Journal as _, Offset, Queue as _, Work};

const FILE: &str = "LOCKFLIGHT_FLEET_TEST_FILE";
const ROUND: &str = "LOCKFLIGHT_FLEET_TEST_ROUND";

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of the test below, which starts it"]
async fn child_publishes_until_it_is_killed() {
    let (Some(file), Some(round)) = (std::env::var_os(FILE), std::env::var_os(ROUND)) else {
        return;
    };
    let round = round.into_string().unwrap();
    let fleet = EmbeddedFleet::open(file, EmbeddedOptions::default())
        .await
        .unwrap();
    // Something is in flight all the time, and is never settled: the first repository's oldest message.
    fleet.publish(&[step(0, &format!("held-{round}"))]).await.unwrap();
    let _held = fleet.receive(Work::Steps, 1).await.unwrap();
    say("held");
    let next = Arc::new(AtomicU64::new(0));
    let publishers: Vec<_> = (1..=8_u64)
        .map(|repo| {
            let (fleet, next, round) = (fleet.clone(), Arc::clone(&next), round.clone());
            tokio::spawn(async move {
                // Far more than it lives to publish.
                for _ in 0..1_000_000 {
                    let id = format!("m{round}-{}", next.fetch_add(1, Ordering::Relaxed));
                    fleet.publish(&[step(repo, &id)]).await.unwrap();
                    say(&format!("confirmed {id}"));
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

/// Runs the child until it has confirmed some messages, kills it, and returns all that it confirmed.
fn run_and_kill(file: &std::path::Path, round: u32) -> BTreeSet<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("embedded::tests::kill::child_publishes_until_it_is_killed")
        .env(FILE, file)
        .env(ROUND, OsString::from(round.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut confirmed = BTreeSet::new();
    let mut killed = false;
    // Reads on after the kill: what was printed before it counts too. A line cut short by it has no end, and does not.
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while out.read_line(&mut line).unwrap() > 0 {
        if let Some(id) = line
            .strip_prefix("confirmed ")
            .and_then(|id| id.strip_suffix('\n'))
        {
            confirmed.insert(id.to_owned());
        }
        line.clear();
        if !killed && confirmed.len() >= 100 {
            // SIGKILL, on Unix.
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {}", confirmed.len());
    confirmed
}

#[tokio::test]
async fn what_was_confirmed_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queue.db");
    let mut confirmed = BTreeSet::new();
    for round in 0..3 {
        confirmed.extend(run_and_kill(&file, round));
    }
    let fleet = EmbeddedFleet::open(&file, EmbeddedOptions::default())
        .await
        .unwrap();
    let mut recorded = BTreeSet::new();
    let mut after = Offset::START;
    loop {
        let page = fleet.read(after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.offset;
        recorded.extend(
            page.iter()
                .map(|record| record.envelope().unwrap().id.to_string()),
        );
    }
    let mut received = BTreeSet::new();
    let mut held = Vec::new();
    while let Some(next) = fleet.try_receive(Work::Steps).await.unwrap() {
        let id = next.envelope().id.to_string();
        if id.starts_with("held-") {
            held.push(next.attempt());
        } else {
            assert_eq!(next.attempt(), 0, "{id}");
        }
        received.insert(id);
        let _settled = next.ack(Vec::new()).await.unwrap();
    }
    let lost: Vec<_> = confirmed.difference(&received).collect();
    assert!(lost.is_empty(), "confirmed, but not on the queue: {lost:?}");
    // All or nothing: what is in the one is in the other.
    assert_eq!(recorded, received);
    // The first was in flight at each of the three kills.
    assert_eq!(held, [3, 0, 0]);
}
