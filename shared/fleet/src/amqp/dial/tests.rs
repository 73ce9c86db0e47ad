use std::time::Instant;

use tokio::net::TcpListener;

use super::super::connection::Connections;
use super::*;

/// How many threads of the client there are in this process.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "lapin-io-loop").count()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_broker_that_accepts_and_stays_silent_is_given_up_without_a_trace() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let accepting = tokio::spawn({
        let accepted = Arc::clone(&accepted);
        async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.lock().unwrap().push(stream);
            }
        }
    });
    let attempts = || accepted.lock().unwrap().len();

    // One who waits is told.
    let uri = AmqpUri::parse(&format!("amqp://127.0.0.1:{port}/?connection_timeout=100")).unwrap();
    let error = dial(&uri, "test").await.unwrap_err();
    assert!(error.to_string().contains("200ms"), "{error}");

    // A fleet tries again and again.
    let connections = Connections::start(&uri);
    until("it tries again", || attempts() > 5).await;
    connections.close().await;
    // Other tests of this process may be connecting, each for a moment.
    until("the client's threads have ended", || threads() == 0).await;
    accepting.abort();
}

#[tokio::test]
async fn a_broker_that_stays_silent_under_tls_is_given_up_too() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri = AmqpUri::parse(&format!("amqps://127.0.0.1:{port}/?connection_timeout=100")).unwrap();
    dial(&uri, "test").await.unwrap_err();
    until("the client's threads have ended", || threads() == 0).await;
}
