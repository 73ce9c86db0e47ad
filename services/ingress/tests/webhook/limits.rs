//! Bodies that are too long, too slow, or too many, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::*;

/// The head of a delivery, up to and without the header of its length. The signature has the right form, no more.
fn head(signature: &str) -> String {
    format!(
        "POST /webhook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-github-event: pull_request\r\n\
         x-github-delivery: {GUID}\r\nx-hub-signature-256: {signature}\r\n"
    )
}

fn forged() -> String {
    head(&format!("sha256={}", "0".repeat(64)))
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// The answer, up to where its body ends.
async fn answer(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
        if bytes.ends_with(b"}") {
            break;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_delivery_over_the_network_is_stored() {
    let ingress = start().await;
    let body = merged().to_string();
    let signature = sign(SECRET, body.as_bytes());
    let text = format!("{}content-length: {}\r\n\r\n{body}", head(&signature), body.len());
    let answered = answer(&mut connect(ingress.serve().await, &text).await).await;
    assert!(answered.starts_with("HTTP/1.1 202"), "{answered}");
    assert_eq!(ingress.stored().await, 1);
}

#[tokio::test]
async fn a_length_over_the_cap_is_refused_before_anything_is_read() {
    let ingress = start().await;
    let text = format!("{}content-length: 26214401\r\n\r\n", forged());
    let answered = answer(&mut connect(ingress.serve().await, &text).await).await;
    assert!(answered.starts_with("HTTP/1.1 413"), "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_without_a_length_is_refused_at_the_cap_and_takes_no_memory() {
    let ingress = start().await;
    let address = ingress.serve().await;
    let before = resident();
    let mut stream = connect(
        address,
        &format!("{}transfer-encoding: chunked\r\n\r\n", forged()),
    )
    .await;
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        let mut chunk = b"100000\r\n".to_vec();
        chunk.resize(chunk.len() + 0x10_0000, b' ');
        chunk.extend_from_slice(b"\r\n");
        let mut highest = before;
        for _ in 0..1024 {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
            highest = highest.max(resident());
        }
        highest
    };
    let (highest, answered) = tokio::join!(sending, answer(&mut reader));
    assert!(answered.starts_with("HTTP/1.1 413"), "{answered}");
    let grown = highest.saturating_sub(before);
    // Neighbours in this process hold bodies of the cap's size meanwhile.
    assert!(grown < 300 * 1024, "the process grew by {grown} KiB");
    assert_eq!(ingress.stored().await, 0);
}

#[tokio::test]
async fn a_body_of_the_cap_is_read_and_its_signature_checked() {
    let ingress = start().await;
    let mut body = merged().to_string();
    body.push_str(&" ".repeat(25 * 1024 * 1024 - body.len()));
    assert_eq!(
        ingress.status_of(delivery("pull_request", body.clone())).await,
        StatusCode::ACCEPTED
    );
    body.push(' ');
    assert_eq!(
        ingress.status_of(delivery("pull_request", body)).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(ingress.stored().await, 1);
}

#[tokio::test]
async fn a_body_that_is_cut_off_or_too_slow_is_refused() {
    let mut config = config();
    config.read_timeout = Duration::from_millis(200);
    let ingress = start_with(config).await;
    let address = ingress.serve().await;
    let text = format!("{}content-length: 100\r\n\r\n{{\"action\":", forged());
    let mut cut = connect(address, &text).await;
    cut.shutdown().await.unwrap();
    let answered = answer(&mut cut).await;
    assert!(answered.starts_with("HTTP/1.1 400"), "{answered}");
    let mut slow = connect(address, &text).await;
    let answered = answer(&mut slow).await;
    assert!(answered.starts_with("HTTP/1.1 408"), "{answered}");
    assert_eq!(ingress.stored().await, 0);
}

#[tokio::test]
async fn more_deliveries_than_are_taken_at_once_are_asked_to_come_again() {
    let mut config = config();
    config.max_in_flight = 1;
    let ingress = start_with(config).await;
    let address = ingress.serve().await;
    let mut first = connect(
        address,
        &format!("{}expect: 100-continue\r\ncontent-length: 2\r\n\r\n", forged()),
    )
    .await;
    // Once it is told to go on, it is in hand.
    let mut interim = [0; 25];
    first.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    let answered = ingress.send(pull_request(&merged())).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answered.headers["retry-after"], "1");
    first.write_all(b"{}").await.unwrap();
    assert!(answer(&mut first).await.starts_with("HTTP/1.1 401"));
    assert_eq!(
        ingress.status_of(pull_request(&merged())).await,
        StatusCode::ACCEPTED
    );
    // Health is answered all the same.
    let health = http::Request::get("/healthz").body(Body::empty()).unwrap();
    assert_eq!(ingress.status_of(health).await, StatusCode::OK);
}
