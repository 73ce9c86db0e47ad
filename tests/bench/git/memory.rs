//! What a worker needs of memory at most: one in a process of its own, from its birth through promotions alone and in batches.

use std::path::PathBuf;
use std::process::Stdio;

use lockflight_promotion::message::Envelope;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::Plan;
use crate::batch::BATCH;
use crate::executor::{Address, Worker};
use crate::report::{Report, say};
use crate::stage::{Repository, Stage};
use crate::stats::short;

/// Makes this program such a worker. It reads what to do from its input.
pub(crate) const FLAG: &str = "--worker";

const MOST: f64 = 150.0;

/// The first line that the worker reads. Each of the others is a batch; it answers with the kilobytes that it has had at most.
#[derive(Serialize, Deserialize)]
struct Birth {
    root: PathBuf,
    address: Address,
}

pub(crate) async fn measure(stage: &Stage, repository: &Repository, plan: Plan, report: &mut Report) {
    let name = repository.shape.name;
    report.title(&format!("Memory of a worker, {name} files"));
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new(program)
        .arg(FLAG)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this program can be started");
    let mut input = child.stdin.take().expect("it was asked for");
    let output = child.stdout.take().expect("it was asked for");
    let mut output = BufReader::new(output).lines();
    let birth = Birth {
        root: stage.fresh("memory"),
        address: Address::of(stage, repository),
    };
    tell(&mut input, &birth).await;
    report.head(&["after", "at most so far, MB"]);
    let mut most = 0.0;
    let rounds = plan.rounds(3, 20);
    let mut work = vec![("the first promotion".to_owned(), 1)];
    work.extend((1..=rounds).map(|_| (format!("{rounds} more"), 1)));
    work.push((format!("a batch of {BATCH}"), BATCH));
    let mut last = String::new();
    for (what, count) in work {
        if last != what && !last.is_empty() {
            report.row(&[std::mem::take(&mut last), short(most)]);
        }
        let messages: Vec<Envelope> = stage.merge(repository, count).await;
        tell(&mut input, &messages).await;
        let answer = output.next_line().await.expect("the worker can be read");
        let kilobytes: f64 = answer
            .and_then(|line| line.parse().ok())
            .expect("the worker tells a number");
        most = kilobytes / 1_024.0;
        last = what;
    }
    report.row(&[last, short(most)]);
    drop(input);
    let ended = child.wait().await.expect("a child can be waited for");
    assert!(ended.success(), "the worker ended badly");
    report.goal(
        &format!("peak memory of a worker, {name} files"),
        "under 150 MB",
        &format!("{} MB", short(most)),
        most < MOST,
    );
}

async fn tell(input: &mut tokio::process::ChildStdin, what: &impl Serialize) {
    let mut line = serde_json::to_vec(what).expect("it can be written as JSON");
    line.push(b'\n');
    input.write_all(&line).await.expect("the worker reads");
}

/// Is the worker.
pub(crate) async fn serve() {
    // Nothing else runs while it waits for work.
    let mut lines = std::io::stdin()
        .lines()
        .map(|line| line.expect("there is an input"));
    let first = lines.next().expect("it begins with its birth");
    let birth: Birth = serde_json::from_str(&first).expect("it begins with its birth");
    let worker = Worker::start(&birth.root, birth.address);
    for line in lines {
        let batch: Vec<Envelope> = serde_json::from_str(&line).expect("it is a batch");
        worker.promote(&batch).await;
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of processes");
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let most = most.and_then(|line| line.split_whitespace().next());
        say(most.expect("a process has memory"));
    }
}
