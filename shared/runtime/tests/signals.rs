//! Signals, against a process of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where its world is not as it has to be"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lockflight_runtime::Shutdown;

const CHILD: &str = "LOCKFLIGHT_TEST_CHILD";

/// What the child runs: a task that ends with the drain, or never.
#[tokio::test]
#[ignore = "the other tests start it as a process of its own"]
async fn the_child() {
    let Some(kind) = std::env::var_os(CHILD) else {
        return;
    };
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals().unwrap();
    let theirs = shutdown.clone();
    drop(shutdown.spawn("work", async move {
        if kind == "stubborn" {
            std::future::pending::<()>().await;
        }
        theirs.draining().await;
    }));
    println!("\nready");
    shutdown.draining().await;
    println!("\ndraining");
    let drained = shutdown.drain(Duration::from_mins(10)).await.unwrap();
    println!("\ndrained after {}", drained.signal.unwrap());
}

/// Ends the child whatever becomes of the test.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(kind: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_child", "--ignored", "--nocapture"])
            .env(CHILD, kind)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn wait_for(&mut self, line: &str) {
        assert!(
            self.lines.any(|found| found.unwrap() == line),
            "the child never said {line:?}"
        );
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_first_signal_drains() {
    for (signal, name) in [("TERM", "SIGTERM"), ("INT", "SIGINT")] {
        let mut process = Process::start("willing");
        process.wait_for("ready");
        process.signal(signal);
        process.wait_for("draining");
        process.wait_for(&format!("drained after {name}"));
        assert_eq!(process.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn the_second_signal_ends_the_process_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut process = Process::start("stubborn");
        process.wait_for("ready");
        process.signal(signal);
        process.wait_for("draining");
        process.signal(signal);
        assert_eq!(process.child.wait().unwrap().code(), Some(code));
    }
}
