//! A worker that is killed, or loses its connection, at each point of fetch and push, and of upkeep.
//!
//! Each story does one promotion and stops it somewhere: after so many bytes of its conversations, or after so much of its time.
//! Then nothing may be half done: the upstream has the promotion's branch where it shall be, or not at all, and no other branch moved. And whoever
//! comes next, on what was left of the mirror, brings the promotion to its end, with the very commit that it would have been.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lockflight_git::testing::{REPO, branch, lease};
use lockflight_git::{Credentials, Mirror, Mirrors, MirrorsError, PushOutcome, RefUpdate, Remote};
use lockflight_promotion::{CommitOid, ErrorClass, TreeOid};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::place::{Dir, Place, Way, Writer, config, file, git, path, put, spec};

/// What a promotion is about.
#[derive(Clone, Debug)]
struct Story {
    main: CommitOid,
    tree: TreeOid,
    /// What comes of it.
    made: CommitOid,
}

/// The upstream of all stories, with a commit that a warm mirror has and one on top of it.
struct Scene {
    place: Place,
    older: CommitOid,
    story: Story,
}

impl Scene {
    async fn new(way: Way) -> Self {
        let place = Place::new(way).await;
        let mut writer = Writer::default();
        let mut root = Dir::new();
        for number in 0..40 {
            put(&mut root, format!("src/c/{number}/f"), file(format!("{number}")));
            put(&mut root, format!("src/d{number}/f"), file("x"));
            put(&mut root, format!("dst/d{number}/f"), file("y"));
        }
        let older = place.advance(&writer.tree(&place, &root));
        put(&mut root, "src/c/new/f", file("new"));
        let main = place.advance(&writer.tree(&place, &root));
        let tree = place.tree_at(&main, "src/c");
        let mirror = place.mirror();
        let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
        let made = mirror
            .commit(spec(&main, &[("dst/c", Some(&tree))]))
            .await
            .unwrap();
        let story = Story {
            main,
            tree,
            made: made.oid,
        };
        Self { place, older, story }
    }

    /// A new root, with a mirror that has the older commit if it is to be warm.
    async fn root(&self, name: &str, warm: bool) -> PathBuf {
        let root = self.place.home.path().join(name);
        if warm {
            let mirror = Mirrors::new(config(&root))
                .unwrap()
                .open(REPO, self.place.remote.clone());
            let _fetched = mirror.fetch(&branch("main"), &self.older).await.unwrap();
        }
        root
    }

    /// The way to the upstream by another port.
    fn remote_by(&self, port: u16) -> Remote {
        let mut remote = self.place.remote.clone();
        let (host, path) = remote.url.split_at(remote.url.find("/acme").unwrap());
        let host = host.rsplit_once(':').unwrap().0;
        remote.url = format!("{host}:{port}{path}");
        remote
    }

    fn port(&self) -> u16 {
        let url = &self.place.remote.url;
        url.split(['/', ':']).find_map(|part| part.parse().ok()).unwrap()
    }

    /// Fails if something is half done.
    #[track_caller]
    fn assert_whole(&self, target: &str, when: &str) {
        let head = self.place.head(target);
        assert!(
            head.is_none() || head.as_ref() == Some(&self.story.made),
            "{when}: {target} is at {head:?}"
        );
        assert_eq!(self.place.head("main").as_ref(), Some(&self.story.main), "{when}");
    }

    /// Brings the promotion to its end, over a way that works.
    async fn finish(&self, mirrors: &Mirrors, target: &str, when: &str) {
        let mirror = mirrors.open(REPO, self.place.remote.clone());
        let pushed = promote(&mirror, &self.story, target).await;
        assert_eq!(pushed, Ok(()), "{when}");
        assert_eq!(self.place.head(target).as_ref(), Some(&self.story.made), "{when}");
        self.assert_whole(target, when);
    }
}

/// All that a worker does. What it fails with is its class, and the words for people.
async fn promote(mirror: &Mirror, story: &Story, target: &str) -> Result<(), (ErrorClass, String)> {
    let main = &story.main;
    mirror
        .fetch(&branch("main"), main)
        .await
        .map_err(|error| (error.class(), format!("{error:?}")))?;
    mirror
        .inspect(main, &[(path("src/c"), Some(story.tree.clone()))])
        .await
        .map_err(|error| (error.class(), format!("{error:?}")))?;
    let made = mirror
        .commit(spec(main, &[("dst/c", Some(&story.tree))]))
        .await
        .map_err(|error| (error.class(), format!("{error:?}")))?;
    assert_eq!(made.oid, story.made);
    let update = RefUpdate {
        branch: branch(target),
        expected: None,
        new: Some(made.oid),
    };
    let outcomes = mirror
        .push(&lease(), &[update])
        .await
        .map_err(|error| (error.class(), format!("{error:?}")))?;
    assert!(
        matches!(
            outcomes.as_slice(),
            [PushOutcome::Pushed | PushOutcome::AlreadyThere]
        ),
        "{outcomes:?}"
    );
    Ok(())
}

/// What happens when no more bytes may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtTheEnd {
    /// The connections end, and so does each new one.
    Break,
    /// Nothing moves any more.
    Hold,
}

/// A way to a server that lets so many bytes pass, both ways together, and then no more.
struct Gate {
    port: u16,
    traffic: Arc<Traffic>,
    _connections: JoinSet<()>,
}

struct Traffic {
    passed: AtomicU64,
    most: u64,
    end: AtTheEnd,
    shut: tokio::sync::watch::Sender<bool>,
}

impl Gate {
    async fn new(to: u16, most: u64, end: AtTheEnd) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let traffic = Arc::new(Traffic {
            passed: AtomicU64::new(0),
            most,
            end,
            shut: tokio::sync::watch::Sender::new(false),
        });
        let mut connections = JoinSet::new();
        let shared = Arc::clone(&traffic);
        connections.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
                open.spawn(async move {
                    // When one side ends, both do.
                    tokio::select! {
                        () = pass(from_client, to_server, &up) => {}
                        () = pass(from_server, to_client, &down) => {}
                    }
                });
            }
        });
        Self {
            port,
            traffic,
            _connections: connections,
        }
    }

    fn passed(&self) -> u64 {
        self.traffic.passed.load(Ordering::SeqCst)
    }

    /// Waits until no more may pass.
    async fn shut(&self) {
        let mut shut = self.traffic.shut.subscribe();
        shut.wait_for(|shut| *shut).await.unwrap();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, traffic: &Traffic) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let wanted = u64::try_from(read).unwrap();
        let before = traffic.passed.fetch_add(wanted, Ordering::SeqCst);
        let allowed = usize::try_from(traffic.most.saturating_sub(before).min(wanted)).unwrap();
        if to.write_all(&buffer[..allowed]).await.is_err() {
            return;
        }
        if allowed < read {
            traffic.shut.send_replace(true);
            if traffic.end == AtTheEnd::Hold {
                std::future::pending::<()>().await;
            }
            return;
        }
    }
}

/// So many points between nothing and all, the first and last bytes among them.
fn points(all: u64, count: u64) -> impl Iterator<Item = u64> {
    let near_the_ends = [0, 1, all - 1];
    near_the_ends
        .into_iter()
        .chain((1..count).map(move |number| all * number / count))
}

/// How many bytes a promotion takes.
async fn bytes_of(scene: &Scene, name: &str, warm: bool) -> u64 {
    let root = scene.root(name, warm).await;
    let gate = Gate::new(scene.port(), u64::MAX, AtTheEnd::Break).await;
    let mirror = Mirrors::new(config(&root))
        .unwrap()
        .open(REPO, scene.remote_by(gate.port));
    promote(&mirror, &scene.story, name).await.unwrap();
    gate.passed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_break_after_any_byte() {
    let scene = Scene::new(Way::Http).await;
    for warm in [false, true] {
        let all = bytes_of(&scene, &format!("promotions/whole-{warm}"), warm).await;
        let mut broken = 0;
        for point in points(all, 24) {
            let when = format!("broken after {point} of {all} bytes, warm: {warm}");
            let target = format!("promotions/broken-{warm}-{point}");
            let root = scene.root(&target, warm).await;
            let mirrors = Mirrors::new(config(&root)).unwrap();
            let gate = Gate::new(scene.port(), point, AtTheEnd::Break).await;
            let by_gate = mirrors.open(REPO, scene.remote_by(gate.port));
            // It may do with a few bytes less than another time.
            if let Err((class, error)) = promote(&by_gate, &scene.story, &target).await {
                assert_eq!(class, ErrorClass::Retry, "{when}: {error}");
                broken += 1;
            }
            scene.assert_whole(&target, &when);
            scene.finish(&mirrors, &target, &when).await;
        }
        assert!(broken >= 22, "only {broken} promotions were interrupted");
    }
    scene.place.assert_sound();
}

/// A worker in a process of its own.
struct Worker {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Worker {
    fn start(root: &Path, remote: &Remote, story: &Story, target: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "kills::worker", "--ignored", "--nocapture"])
            .env(
                "KILLED_CASE",
                format!(
                    "{} {} {} {} {} {target}",
                    root.display(),
                    remote.url,
                    story.main,
                    story.tree,
                    story.made
                ),
            )
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(credentials) = &remote.credentials {
            let token = secrecy::ExposeSecret::expose_secret(&credentials.token);
            command.env("KILLED_TOKEN", token);
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for a line that ends with that word.
    async fn says(&mut self, word: &str) {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            if line.ends_with(word) {
                return;
            }
        }
        panic!("the worker ended without saying {word}");
    }

    /// Kills it, and tells whether it was at work still.
    async fn kill(mut self) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap().signal().is_some()
    }
}

const UPKEEP: &str = "upkeep";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other tests start it as a process of its own"]
async fn worker() {
    let Some(given) = std::env::var_os("KILLED_CASE") else {
        return;
    };
    let given = given.into_string().unwrap();
    let [root, url, main, tree, made, target]: [&str; 6] =
        given.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let mirrors = Mirrors::new(config(Path::new(root))).unwrap();
    let credentials =
        std::env::var_os("KILLED_TOKEN").map(|token| Credentials::token(token.into_string().unwrap().into()));
    let remote = Remote {
        url: url.to_owned(),
        credentials,
    };
    let mirror = mirrors.open(REPO, remote);
    let story = Story {
        main: CommitOid::parse(main).unwrap(),
        tree: TreeOid::parse(tree).unwrap(),
        made: CommitOid::parse(made).unwrap(),
    };
    println!("\nBEGIN");
    if target == UPKEEP {
        assert_eq!(mirrors.maintain().await.packed, 1);
    } else {
        promote(&mirror, &story, target).await.unwrap();
    }
    println!("\nEND");
}

/// The mirrors that a dead process left.
async fn inherit(root: &Path) -> Mirrors {
    let inherited = async {
        loop {
            match Mirrors::new(config(root)) {
                // A child that it was just starting has the lock until it becomes git.
                Err(MirrorsError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                mirrors => return mirrors.unwrap(),
            }
        }
    };
    let patience = tokio::time::timeout(Duration::from_secs(20), inherited);
    patience.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_be_killed_after_any_byte() {
    let scene = Scene::new(Way::Http).await;
    for warm in [false, true] {
        let all = bytes_of(&scene, &format!("promotions/whole-{warm}"), warm).await;
        let mut killed = 0;
        for point in points(all, 12) {
            let when = format!("killed after {point} of {all} bytes, warm: {warm}");
            let target = format!("promotions/killed-{warm}-{point}");
            let root = scene.root(&target, warm).await;
            let gate = Gate::new(scene.port(), point, AtTheEnd::Hold).await;
            let mut worker = Worker::start(&root, &scene.remote_by(gate.port), &scene.story, &target);
            tokio::select! {
                () = gate.shut() => {}
                // It may do with a few bytes less than another time.
                () = worker.says("END") => {}
            }
            killed += u32::from(worker.kill().await);
            drop(gate);
            scene.assert_whole(&target, &when);
            scene.finish(&inherit(&root).await, &target, &when).await;
        }
        assert!(killed >= 12, "only {killed} workers were killed at work");
    }
    scene.place.assert_sound();
}

/// What lies between the bytes: directories, packs, objects and refs that are written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_be_killed_at_any_time() {
    for way in [Way::Http, Way::Path] {
        let scene = Scene::new(way).await;
        for warm in [false, true] {
            let kills = 14;
            let mut killed = 0;
            let mut whole = Duration::ZERO;
            for number in 0..=kills {
                let target = format!("promotions/{number}-{warm}");
                let root = scene.root(&target, warm).await;
                let mut worker = Worker::start(&root, &scene.place.remote, &scene.story, &target);
                worker.says("BEGIN").await;
                let begun = Instant::now();
                if number == 0 {
                    // How long it takes when it is left alone.
                    worker.says("END").await;
                    whole = begun.elapsed();
                    continue;
                }
                let moment = whole * (number - 1) / kills;
                let when = format!("killed after {moment:?} of {whole:?}, {way:?}, warm: {warm}");
                tokio::time::sleep(moment).await;
                killed += u32::from(worker.kill().await);
                scene.assert_whole(&target, &when);
                scene.finish(&inherit(&root).await, &target, &when).await;
            }
            assert!(killed > 0, "{way:?}, warm: {warm}");
        }
        scene.place.assert_sound();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upkeep_may_be_killed_at_any_time() {
    for way in [Way::Http, Way::Path] {
        let scene = Scene::new(way).await;
        let place = &scene.place;
        // A mirror with many packs, and a commit that only it has.
        let full = place.home.path().join("full");
        let mirrors = Mirrors::new(config(&full)).unwrap();
        let mirror = mirrors.open(REPO, place.remote.clone());
        let mut writer = Writer::default();
        let mut last = scene.story.main.clone();
        for round in 0..14 {
            let mut root = Dir::new();
            put(&mut root, "src/c/f", file(format!("{round}")));
            last = place.advance(&writer.tree(place, &root));
            let _fetched = mirror.fetch(&branch("main"), &last).await.unwrap();
            let _tree = mirror.entry(&last, &path("src/c")).await.unwrap();
        }
        let tree = place.tree_at(&last, "src/c");
        let edits = [("dst/c", Some(&tree))];
        let made = mirror.commit(spec(&last, &edits)).await.unwrap();
        drop((mirror, mirrors));
        let story = Story {
            main: last,
            tree,
            made: made.oid,
        };
        let objects = |root: &Path| {
            let dir = root.join(format!("{REPO}.git"));
            let all = ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"];
            git(&dir, &all, b"")
        };
        let before = objects(&full);

        let kills = 12;
        let mut whole = Duration::ZERO;
        for number in 0..=kills {
            let root = place.home.path().join(format!("upkeep-{number}"));
            copy(&full, &root);
            let mut worker = Worker::start(&root, &place.remote, &story, UPKEEP);
            worker.says("BEGIN").await;
            let begun = Instant::now();
            if number == 0 {
                worker.says("END").await;
                whole = begun.elapsed();
            } else {
                tokio::time::sleep(whole * (number - 1) / kills).await;
            }
            worker.kill().await;
            let when = format!("killed at {number} of {kills} parts of {whole:?}, {way:?}");
            let mirrors = inherit(&root).await;
            assert_eq!(objects(&root), before, "{when}");
            let mirror = mirrors.open(REPO, place.remote.clone());
            assert!(
                mirror.fetch(&branch("main"), &story.main).await.unwrap().skipped,
                "{when}"
            );
            let target = format!("promotions/{number}");
            assert_eq!(promote(&mirror, &story, &target).await, Ok(()), "{when}");
            assert_eq!(place.head(&target).as_ref(), Some(&story.made), "{when}");
            if way == Way::Path {
                git(&root.join(format!("{REPO}.git")), &["fsck", "--no-dangling"], b"");
            }
        }
        place.assert_sound();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
