//! Telemetry on its way to a collector, from a process of its own: what is sent, and what a bad collector costs.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where its world is not as it has to be"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockflight_runtime::telemetry::{self, FLUSH, LogConfig, Process};
use tracing::{info, info_span, warn};

const CHILD: &str = "LOCKFLIGHT_TEST_CHILD";

/// How many spans the child makes.
const ROUNDS: u64 = 3_000;

/// What the child runs: work with telemetry, then its end.
#[test]
#[ignore = "the other tests start it as a process of its own"]
fn the_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let process = Process {
        service: "lockflight-planner",
        role: "planner",
        version: "1.2.3",
    };
    let config = LogConfig {
        filter: Some("info,opentelemetry=trace,hyper=trace,hyper_util=trace".to_owned()),
        ..LogConfig::default()
    };
    let telemetry = telemetry::init_as(&config, &process).unwrap();
    let meter = opentelemetry::global::meter("test");
    let counter = meter.u64_counter("lockflight.test.rounds").build();
    let began = Instant::now();
    for round in 0..ROUNDS {
        let span = info_span!(target: "lockflight_test", "work", otel.name = "work in rounds", otel.kind = "server", round);
        let _span = span.enter();
        counter.add(1, &[]);
        if round == 7 {
            info!(colour = "blue", "a record of round seven");
            warn!(target: "lockflight_test", "a warning of round seven");
        }
    }
    println!("\nworked {}", began.elapsed().as_millis());
    let began = Instant::now();
    let whole = telemetry.finish(FLUSH);
    println!("\nended {} {whole}", began.elapsed().as_millis());
}

struct Ended {
    /// Milliseconds.
    work: u128,
    end: u128,
    whole: bool,
    stderr: String,
}

fn run(variables: &[(&str, &str)]) -> Ended {
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child", "--ignored", "--nocapture"])
        .env(CHILD, "yes")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{stdout}\n{stderr}");
    let words = |first: &str| -> Vec<String> {
        let line = stdout.lines().find(|line| line.starts_with(first)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let end = words("ended");
    Ended {
        work: words("worked")[1].parse().unwrap(),
        end: end[1].parse().unwrap(),
        whole: end[2] == "true",
        stderr,
    }
}

/// What a server was sent, one entry a request: its head and its body as text.
type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// A server on loopback that answers every request in the same way, or not at all.
fn server(answer: Option<&'static str>) -> (String, Requests) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let kept = Arc::clone(&requests);
    // They end with the test's process.
    drop(std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, kept) = (stream.unwrap(), Arc::clone(&kept));
            drop(std::thread::spawn(move || serve(stream, answer, &kept)));
        }
    }));
    (endpoint, requests)
}

fn serve(mut stream: TcpStream, answer: Option<&str>, requests: &Requests) {
    let mut bytes = Vec::new();
    let mut read = [0; 64 * 1024];
    loop {
        let request = loop {
            if let Some(request) = whole(&bytes) {
                break request;
            }
            match stream.read(&mut read) {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes.extend_from_slice(&read[..count]),
            }
        };
        requests.lock().unwrap().push(request);
        bytes.clear();
        let Some(answer) = answer else { continue };
        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A request, once all of it is there.
fn whole(bytes: &[u8]) -> Option<(String, String)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let (head, body) = bytes.split_at(end);
    let head = String::from_utf8_lossy(head).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    (body.len() >= length.parse().ok()?).then(|| (head, String::from_utf8_lossy(body).into_owned()))
}

#[test]
fn traces_metrics_and_logs_reach_a_collector_and_what_is_left_at_the_end_too() {
    let (endpoint, requests) = server(Some("200 OK"));
    let ended = run(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary-of-the-header"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab"),
        // Nothing is sent before the end, or not for long.
        ("OTEL_BSP_SCHEDULE_DELAY", "60000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10000"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "60000"),
    ]);
    assert!(ended.whole, "{}", ended.stderr);
    let requests = requests.lock().unwrap().clone();
    let of = |path: &str| {
        let begin = format!("post {path} ");
        let found = requests.iter().filter(|(head, _)| head.starts_with(&begin));
        found
            .map(|(_, body)| body.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (traces, metrics, logs) = (of("/v1/traces"), of("/v1/metrics"), of("/v1/logs"));
    assert_eq!(
        traces.matches("work in rounds").count(),
        usize::try_from(ROUNDS).unwrap()
    );
    assert!(
        traces.contains("a warning of round seven"),
        "a warning is an event of its span"
    );
    assert!(metrics.contains("lockflight.test.rounds") && metrics.contains("lockflight.build.info"));
    assert!(logs.contains("a record of round seven") && logs.contains("blue"));
    for sent in [&traces, &metrics, &logs] {
        assert!(sent.contains("lockflight-planner") && sent.contains("1.2.3"));
        assert!(sent.contains("deployment.environment.name"));
    }
    assert!(
        requests
            .iter()
            .all(|(head, _)| head.contains("api-key: canary-of-the-header"))
    );
    assert!(!ended.stderr.contains("canary-of-the-header"), "{}", ended.stderr);
    assert!(
        !logs.contains("hyper"),
        "sending is not written about to the collector"
    );
}

#[test]
fn a_collector_that_is_away_costs_no_work_and_is_spoken_of_once() {
    // Bound and dropped: nobody listens there.
    let port = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ended = run(&[
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("http://key@127.0.0.1:{port}/canary"),
        ),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
    ]);
    let complaints: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("does not take traces"))
        .collect();
    assert_eq!(complaints.len(), 1, "{}", ended.stderr);
    assert!(
        complaints[0].contains(&format!("at http://127.0.0.1:{port} does")),
        "{complaints:?}"
    );
    assert!(!complaints[0].contains("canary"), "{complaints:?}");
    let mut theirs: Vec<&str> = ended
        .stderr
        .lines()
        .filter_map(|line| line.split("opentelemetry").nth(1))
        .collect();
    theirs.sort_unstable();
    assert!(
        theirs.iter().any(|line| line.contains("SpanDroppingStarted")),
        "{theirs:?}"
    );
    let said = theirs.len();
    theirs.dedup();
    assert_eq!(theirs.len(), said, "each is said once: {theirs:?}");
    assert!(!ended.stderr.contains("key@"), "{}", ended.stderr);
    assert!(ended.work < 5_000, "{} ms", ended.work);
    assert!(ended.end <= FLUSH.as_millis() + 1_000, "{} ms", ended.end);
}

#[test]
fn a_collector_that_never_answers_is_left_at_the_end() {
    let (endpoint, requests) = server(None);
    let began = Instant::now();
    let ended = run(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
    ]);
    assert!(!ended.whole);
    assert!(!requests.lock().unwrap().is_empty(), "it was asked");
    assert!(ended.work < 5_000, "{} ms", ended.work);
    assert!(ended.end <= FLUSH.as_millis() + 1_000, "{} ms", ended.end);
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn without_a_word_about_it_nothing_is_sent() {
    let ended = run(&[]);
    assert!(ended.whole && ended.end < 1_000, "{} ms", ended.end);
    assert!(!ended.stderr.contains("collector"), "{}", ended.stderr);
}

#[test]
fn a_protocol_that_is_not_spoken_is_told() {
    let ended = run(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]);
    assert!(
        ended.stderr.contains("only http/protobuf is spoken"),
        "{}",
        ended.stderr
    );
    assert!(ended.whole);
}
