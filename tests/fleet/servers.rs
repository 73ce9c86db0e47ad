//! The test kit's servers do what the tests believe of them.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lockflight_tests::servers::{PATIENCE, RabbitMq, Redis, RedisSetup, SETTLING, TcpProxy};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Set in the process that a test starts to be killed.
const VICTIM: &str = "LOCKFLIGHT_TEST_VICTIM";

/// What the victim says once its servers run, before their ports.
const READY: &str = "victim-is-ready";

async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, wait).await;
    done.unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

#[tokio::test]
async fn a_broker_that_was_killed_has_its_queues_when_it_is_back() {
    let broker = RabbitMq::start().await;
    let version = broker.ctl(&["version"]).await;
    assert!(
        version.trim().starts_with(|char: char| char.is_ascii_digit()),
        "{version}"
    );
    let declare = "rabbit_amqqueue:declare(rabbit_misc:r(<<\"/\">>, queue, <<\"kept\">>), true, false, [], none, <<\"guest\">>), ok.";
    broker.ctl(&["eval", declare]).await;
    tokio::time::sleep(SETTLING).await;
    broker.kill().await;
    assert!(!is_open(broker.port()).await);
    broker.restart().await;
    // It answers a little before it has found all that it had.
    until("the queue is back", async || {
        let queues = broker.ctl(&["list_queues", "--no-table-headers", "name"]).await;
        queues.trim() == "kept"
    })
    .await;
    broker.stop().await;
    broker.restart().await;
}

#[tokio::test]
async fn a_memory_alarm_is_raised_and_ended() {
    let broker = RabbitMq::shared().await;
    let alarms = async || broker.ctl(&["eval", "rabbit_alarm:get_alarms()."]).await;
    broker.memory_alarm(true).await;
    until("the alarm is raised", async || alarms().await.contains("memory")).await;
    broker.memory_alarm(false).await;
    until("the alarm is over", async || !alarms().await.contains("memory")).await;
    let uri = broker.vhost("elsewhere").await;
    assert!(uri.ends_with("/elsewhere"));
    assert!(broker.ctl(&["list_vhosts"]).await.contains("elsewhere"));
}

#[tokio::test]
async fn redis_forgets_over_a_restart_unless_it_was_told_to_keep() {
    for (setup, kept) in [
        (RedisSetup::default(), ""),
        (RedisSetup::default().append_only(), "1"),
    ] {
        let redis = setup.start().await;
        assert_eq!(redis.cli(&["SET", "key", "1"]).await, "OK");
        redis.kill().await;
        redis.restart().await;
        assert_eq!(redis.cli(&["GET", "key"]).await, kept);
    }
}

#[tokio::test]
async fn a_replica_copies_its_master_through_a_proxy() {
    let master = Redis::start().await;
    let proxy = TcpProxy::start(master.port()).await;
    let replica = RedisSetup::default().replica_of(proxy.port()).start().await;
    master.cli(&["SET", "key", "1"]).await;
    until("the replica has it", async || {
        replica.cli(&["GET", "key"]).await == "1"
    })
    .await;
    proxy.freeze();
    master.cli(&["SET", "key", "2"]).await;
    assert_eq!(replica.cli(&["GET", "key"]).await, "1");
    proxy.thaw();
    until("the replica has it", async || {
        replica.cli(&["GET", "key"]).await == "2"
    })
    .await;
}

#[tokio::test]
async fn a_paused_server_answers_once_it_goes_on() {
    let redis = Redis::start().await;
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
    redis.pause();
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut answer = [0; 7];
    let early = tokio::time::timeout(Duration::from_millis(200), stream.read_exact(&mut answer)).await;
    assert!(early.is_err());
    redis.resume();
    in_time("the answer", stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

/// A server that sends back what it gets.
async fn echo() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(tokio::spawn(async move {
                let (mut from, mut to) = stream.into_split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            }));
        }
    }));
    port
}

async fn said_back(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_proxy_passes_everything_on_until_it_is_told_otherwise() {
    let proxy = TcpProxy::start(echo().await).await;
    let connect = async || TcpStream::connect(("127.0.0.1", proxy.port())).await;
    let mut stream = connect().await.unwrap();
    assert_eq!(said_back(&mut stream, b"one").await.unwrap(), b"one");
    assert_eq!((proxy.accepted(), proxy.open(), proxy.bytes()), (1, 1, 6));

    proxy.set_latency(Duration::from_millis(50));
    let begin = Instant::now();
    assert_eq!(said_back(&mut stream, b"two").await.unwrap(), b"two");
    assert!(begin.elapsed() >= Duration::from_millis(100));
    proxy.set_latency(Duration::ZERO);

    proxy.freeze();
    let frozen = tokio::time::timeout(Duration::from_millis(100), said_back(&mut stream, b"three")).await;
    assert!(frozen.is_err());
    let mut late = connect().await.unwrap();
    proxy.thaw();
    let mut answer = [0; 5];
    in_time("the thaw", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"three");

    proxy.refuse();
    until("nobody listens", async || connect().await.is_err()).await;
    assert_eq!(said_back(&mut stream, b"four").await.unwrap(), b"four");
    proxy.accept();
    until("somebody listens", async || connect().await.is_ok()).await;

    proxy.cut();
    assert_eq!(in_time("the end", stream.read(&mut answer)).await.unwrap(), 0);
    assert_eq!(in_time("the end", late.read(&mut answer)).await.unwrap(), 0);
    let mut stream = connect().await.unwrap();
    assert_eq!(said_back(&mut stream, b"five").await.unwrap(), b"five");
    proxy.reset();
    let reset = in_time("the end", stream.read(&mut answer)).await.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    until("all are gone", async || proxy.open() == 0).await;

    let mut stream = connect().await.unwrap();
    proxy.limit(4);
    stream.write_all(b"longer").await.unwrap();
    let mut received = Vec::new();
    in_time("the end", stream.read_to_end(&mut received)).await.ok();
    assert!(
        received.is_empty(),
        "the first four bytes went to the server: {received:?}"
    );
    proxy.unlimit();
    let mut stream = connect().await.unwrap();
    assert_eq!(said_back(&mut stream, b"longer").await.unwrap(), b"longer");
}

#[tokio::test]
async fn the_proxy_of_a_server_that_is_away_hangs_up() {
    let redis = Redis::start().await;
    let proxy = TcpProxy::start(redis.port()).await;
    redis.kill().await;
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let mut byte = [0];
    assert!(matches!(
        in_time("the end", stream.read(&mut byte)).await,
        Ok(0) | Err(_)
    ));
}

/// Not a test of its own: the process that the next one kills.
#[tokio::test]
#[ignore = "the victim of another test"]
async fn victim() {
    assert!(std::env::var_os(VICTIM).is_some(), "only for another test");
    let broker = RabbitMq::shared().await;
    let redis = Redis::start().await;
    let before = Instant::now();
    println!("\n{READY} {} {}", broker.port(), redis.port());
    std::future::pending::<()>().await;
    assert!(before.elapsed() > PATIENCE);
}

#[tokio::test]
async fn nothing_outlives_a_test_process_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["servers::victim", "--exact", "--ignored", "--nocapture"])
        .env(VICTIM, "yes")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = victim.id().unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let ready = in_time("the victim is ready", async {
        loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("the victim has not ended");
            if line.starts_with(READY) {
                return line;
            }
        }
    })
    .await;
    let ports: Vec<u16> = ready
        .split_whitespace()
        .skip(1)
        .map(|port| port.parse().unwrap())
        .collect();
    let servers = processes_in(folder.path());
    assert!(servers.len() >= 2, "the broker and Redis: {servers:?}");
    assert!(!children(pid).is_empty());
    victim.kill().await.unwrap();
    for port in ports {
        until("the port is closed", async || !is_open(port).await).await;
    }
    until("all processes have ended", async || {
        processes_in(folder.path()).is_empty()
    })
    .await;
    until("the folders are gone", async || {
        folder.path().read_dir().unwrap().next().is_none()
    })
    .await;
}

/// The processes that work below a folder, or were told its name.
fn processes_in(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    proc_entries()
        .filter(|(_, path)| {
            let mentions = |file: &str| {
                let bytes = std::fs::read(path.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).contains(folder)
            };
            let works_in = std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
            works_in || mentions("cmdline") || mentions("environ")
        })
        .map(|(_, path)| {
            String::from_utf8_lossy(&std::fs::read(path.join("cmdline")).unwrap_or_default()).into_owned()
        })
        .collect()
}

fn children(parent: u32) -> Vec<u32> {
    let has_parent = |path: &Path| {
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{parent}"))
    };
    proc_entries()
        .filter(|(_, path)| has_parent(path))
        .map(|(pid, _)| pid)
        .collect()
}

fn proc_entries() -> impl Iterator<Item = (u32, std::path::PathBuf)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}
