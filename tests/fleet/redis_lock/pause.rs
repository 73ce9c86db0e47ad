//! When a holder is stopped in its tracks.

use std::process::Stdio;

use lockflight_fleet::LockGuard as _;
use lockflight_promotion::Fence;
use lockflight_tests::servers::Redis as Server;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::{REPO, acquire, holds, in_time, is_held, options, process};

#[tokio::test]
async fn a_holder_that_was_stopped_for_longer_than_its_lease_knows_when_it_goes_on() {
    let server = Server::start().await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "redis_lock::pause::child_holds_a_lock_until_its_input_ends",
        ])
        .args(["--ignored", "--nocapture"])
        .env(URI, server.uri())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut questions = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answer = async |wanted: &str| loop {
        let line = in_time("an answer", answers.next_line()).await.unwrap().unwrap();
        // The harness may have begun the line.
        if let Some((_, answer)) = line.split_once(wanted) {
            return answer.to_owned();
        }
    };
    let fence: u64 = answer("held ").await.parse().unwrap();
    questions.write_all(b"check\n").await.unwrap();
    assert_eq!(answer("lease ").await, "good");

    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    kill_process(pid.unwrap(), Signal::STOP).unwrap();
    let redis = process(options(server.uri()));
    let next = acquire(&redis.locks(), REPO).await;
    assert!(!next.is_local() && next.lease().fence() > Fence(fence));
    kill_process(pid.unwrap(), Signal::CONT).unwrap();

    answer("lost").await;
    questions.write_all(b"check\n").await.unwrap();
    assert_eq!(answer("lease ").await, "late");
    // Its goodbye does not end the lease of its successor.
    drop(questions);
    assert!(in_time("the child ends", child.wait()).await.unwrap().success());
    assert!(holds(&next));
    assert!(is_held(&redis.locks(), REPO).await);
}

const URI: &str = "LOCKFLIGHT_TEST_REDIS_URI";

#[tokio::test]
#[ignore = "the child of the test above, which starts it"]
async fn child_holds_a_lock_until_its_input_ends() {
    let uri = std::env::var_os(URI).unwrap().into_string().unwrap();
    let redis = process(options(uri));
    let guard = acquire(&redis.locks(), REPO).await;
    println!("held {}", guard.lease().fence().0);
    let (sender, mut questions) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for question in std::io::stdin().lines() {
            sender.send(question.unwrap()).unwrap();
        }
    });
    let mut lost = false;
    loop {
        tokio::select! {
            question = questions.recv() => match question {
                Some(_) => println!("lease {}", if holds(&guard) { "good" } else { "late" }),
                None => break,
            },
            () = guard.lost(), if !lost => {
                lost = true;
                println!("lost");
            }
        }
    }
    guard.release().await.unwrap();
}
