use axum::routing::{get, post};
use tokio::task::JoinHandle;

use super::*;

struct Server {
    address: std::net::SocketAddr,
    shutdown: Shutdown,
    served: JoinHandle<std::io::Result<()>>,
}

async fn start(limits: Limits, router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let served = tokio::spawn(serve_with(limits, listener, router, shutdown.clone()));
    Server {
        address,
        shutdown,
        served,
    }
}

/// Everything that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn send(address: std::net::SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const LAST_GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered_and_a_panic_is_a_500_that_harms_nobody_else() {
    async fn broken() {
        panic!("no luck");
    }
    let router = Router::new()
        .route("/", get(|| async { "fine" }))
        .route("/broken", get(broken));
    let server = start(Limits::default(), router).await;
    let answer = rest(&mut send(server.address, &LAST_GET.replace(" / ", " /broken ")).await).await;
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    let answer = rest(&mut send(server.address, LAST_GET).await).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let limits = Limits {
        head_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(limits, Router::new()).await;
    let answer = rest(&mut send(server.address, "GET / HTTP/1.1\r\nhost").await).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    // An idle connection likewise.
    assert_eq!(rest(&mut send(server.address, "").await).await, "");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let server = start(limits, Router::new().route("/", get(|| async { "fine" }))).await;
    let mut first = send(server.address, GET).await;
    let mut begin = [0; 12];
    first.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    let mut second = send(server.address, LAST_GET).await;
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut begin)).await;
    assert!(
        early.is_err(),
        "the second connection was served beside the first"
    );
    drop(first);
    assert!(rest(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_drain_answers_what_is_in_hand_and_closes_what_is_idle() {
    let (began, mut begun) = tokio::sync::mpsc::channel::<()>(1);
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let slow = move || async move {
        began.send(()).await.unwrap();
        drop(inner.acquire().await.unwrap());
        "late"
    };
    let server = start(Limits::default(), Router::new().route("/", get(slow))).await;
    let mut idle = send(server.address, "").await;
    let mut busy = send(server.address, GET).await;
    begun.recv().await.unwrap();
    server.shutdown.begin_drain();
    assert_eq!(rest(&mut idle).await, "");
    gate.add_permits(1);
    let answer = rest(&mut busy).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"),
        "{answer}"
    );
    server.served.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn the_hard_stop_drops_every_connection() {
    let (began, mut begun) = tokio::sync::mpsc::channel::<()>(1);
    let stuck = move || async move {
        began.send(()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let server = start(Limits::default(), Router::new().route("/", get(stuck))).await;
    let mut busy = send(server.address, GET).await;
    begun.recv().await.unwrap();
    let theirs = server.shutdown.clone();
    let drained = tokio::spawn(async move { theirs.drain(Duration::from_millis(50)).await });
    assert_eq!(rest(&mut busy).await, "");
    assert!(drained.await.unwrap().is_ok());
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_arrives_whole() {
    let server = start(
        Limits::default(),
        Router::new().route(
            "/",
            post(|| async { (StatusCode::PAYLOAD_TOO_LARGE, "too large") }),
        ),
    )
    .await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n";
    // More than the server reads along with the head, less than what blocks.
    let mut stream = send(server.address, &format!("{head}{}", "x".repeat(128 * 1024))).await;
    // A connection that was reset would be an error here.
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.ends_with("too large"),
        "{answer}"
    );
}
