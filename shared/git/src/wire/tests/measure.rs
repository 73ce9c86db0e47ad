//! How long one fetch and one push take, beside the spawned git. Run by hand:
//! `cargo test -p lockflight-git --lib wire::tests::measure -- --ignored --nocapture`.

use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use git2::{ObjectType, Oid};
use lockflight_promotion::CommitOid;

use super::bridge::Bridge;
use super::{Here, TOKEN, oid, want, wire};
use crate::RefUpdate;
use crate::testing::{Edit, REPO, Upstream, branch, lease};
use crate::wire::{Deepen, Filter, Request};

const TIMES: usize = 15;

/// 10,000 files in 500 components of five environments.
fn upstream() -> (Upstream, CommitOid) {
    let upstream = Upstream::new();
    let mut stream = String::from("commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 1\nx");
    for component in 0..500 {
        for environment in ["dev", "qa", "prod", "edge", "test"] {
            for file in 0..4 {
                let text = format!(
                    "component: {component}\nenvironment: {environment}\nfile: {file}\n{}",
                    "value: 1\n".repeat(20)
                );
                stream += &format!(
                    "M 100644 inline clusters/{environment}/c{component}/f{file}.yaml\ndata {}\n{text}\n",
                    text.len()
                );
            }
        }
    }
    upstream.git_with(&["fast-import", "--quiet"], &[], stream.as_bytes());
    let head = upstream.head("main").unwrap();
    (upstream, head)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn git(here: &Here, arguments: &[&str]) -> Command {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{TOKEN}"));
    let mut command = Command::new("git");
    command
        .args([
            "-c",
            &format!("http.extraHeader=Authorization: Basic {basic}"),
            "-c",
            "gc.auto=0",
            "-c",
            "maintenance.auto=false",
        ])
        .args(["-c", "transfer.fsckObjects=true"])
        .args(arguments)
        .current_dir(here.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_DIR", ".");
    command
}

async fn run(mut command: Command) -> Duration {
    let started = Instant::now();
    let output = crate::blocking::blocking(move || command.output()).await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    started.elapsed()
}

/// A commit whose tree has one more name in it than that of `base`.
fn made(here: &Here, base: &CommitOid, name: &str) -> (CommitOid, Vec<Oid>) {
    let repo = here.repo();
    let odb = repo.odb().unwrap();
    let root = repo.find_commit(oid(base)).unwrap().tree().unwrap();
    let clusters = root.get_name("clusters").unwrap().id();
    let mut content = Vec::new();
    for name in ["clusters", name] {
        content.extend_from_slice(format!("40000 {name}\0").as_bytes());
        content.extend_from_slice(clusters.as_bytes());
    }
    let tree = odb.write(ObjectType::Tree, &content).unwrap();
    let who = "A <a@b> 1700000000 +0000";
    let text = format!("tree {tree}\nparent {base}\nauthor {who}\ncommitter {who}\n\n{name}\n");
    let commit = odb.write(ObjectType::Commit, text.as_bytes()).unwrap();
    (CommitOid::parse(commit.to_string()).unwrap(), vec![commit, tree])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, and proves nothing"]
async fn a_fetch_and_a_push_beside_the_spawned_git() {
    let (upstream, base) = upstream();
    let (server, wire) = (Bridge::of(&upstream).await, wire());
    let (ours, gits) = (Here::new(), Here::new());
    let remote = server.remote();

    let started = Instant::now();
    let cold = Request {
        deepen: std::num::NonZeroU32::new(1).map(Deepen::To),
        filter: Some(Filter::BlobNone),
        ..want(oid(&base))
    };
    let received = wire.fetch(&remote, &ours.path(), &cold).await.unwrap();
    println!(
        "cold, depth 1, blob:none: wire {:?}, {} bytes, {} objects",
        started.elapsed(),
        received.bytes,
        received.objects
    );
    let fetch = [
        "fetch",
        "-q",
        "--no-tags",
        server.url(),
        "+refs/heads/main:refs/heads/main",
    ];
    println!("cold, everything: git {:?}", run(git(&gits, &fetch)).await);

    let mut times: [Vec<Duration>; 6] = Default::default();
    let mut bytes = 0;
    let mut tip = base.clone();
    for number in 0..TIMES {
        let name = format!("clusters/qa/c7/f{number}.yaml");
        let next = upstream.push("main", "next", &[Edit::File(&name, "1")]);
        let started = Instant::now();
        let heads = wire.list(&remote, &[branch("main")]).await.unwrap();
        times[0].push(started.elapsed());
        assert_eq!(heads["main"], next);
        let warm = Request {
            haves: vec![oid(&tip)],
            shallow: received.shallow.clone(),
            filter: Some(Filter::BlobNone),
            ..want(oid(&next))
        };
        let started = Instant::now();
        bytes = wire.fetch(&remote, &ours.path(), &warm).await.unwrap().bytes;
        times[1].push(started.elapsed());
        times[2].push(run(git(&gits, &["ls-remote", "-q", server.url(), "refs/heads/main"])).await);
        times[3].push(run(git(&gits, &fetch)).await);

        let (commit, objects) = made(&ours, &next, &format!("o{number}"));
        let update = RefUpdate {
            branch: branch(&format!("ours/{number}")),
            expected: None,
            new: Some(commit),
        };
        let started = Instant::now();
        let report = wire
            .push(&remote, &ours.path(), &lease(), REPO, &[update], &objects)
            .await
            .unwrap();
        times[4].push(started.elapsed());
        assert_eq!(report.refs[0].flag, ' ');
        let (commit, _) = made(&gits, &next, &format!("g{number}"));
        let (lease, to) = (
            format!("--force-with-lease=refs/heads/g/{number}:"),
            format!("{commit}:refs/heads/g/{number}"),
        );
        times[5].push(
            run(git(
                &gits,
                &[
                    "push",
                    "-q",
                    "--porcelain",
                    "--no-verify",
                    &lease,
                    server.url(),
                    &to,
                ],
            ))
            .await,
        );
        tip = next;
    }
    let [list, fetch, git_list, git_fetch, push, git_push] = times.map(median);
    println!("medians of {TIMES}: list {list:?}, git ls-remote {git_list:?}");
    println!("fetch of one commit: wire {fetch:?} ({bytes} bytes), git {git_fetch:?}");
    println!("push of one commit: wire {push:?}, git {git_push:?}");
}
