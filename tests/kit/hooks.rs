//! A receiver of webhooks that keeps each delivery and holds its sender to GitHub's description.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::openapi::{Validator, Violation, report};

/// One delivery as it came in.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `X-GitHub-Event`.
    pub event: String,
    /// `X-GitHub-Delivery`.
    pub id: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body; `null` where it was not JSON, which is a violation too.
    pub payload: Value,
}

impl Delivery {
    /// Returns the action, or an empty text for events that have none.
    pub fn action(&self) -> &str {
        self.payload
            .get("action")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

#[derive(Debug)]
struct Inbox {
    secret: String,
    answer: Mutex<StatusCode>,
    deliveries: Mutex<Vec<Delivery>>,
    violations: Mutex<Vec<Violation>>,
    count: watch::Sender<usize>,
}

/// Listens on loopback until it is dropped. Dropping it fails the test if a delivery broke GitHub's description.
#[derive(Debug)]
pub struct HookReceiver {
    address: SocketAddr,
    inbox: Arc<Inbox>,
    server: JoinHandle<()>,
}

impl HookReceiver {
    /// Starts a receiver that expects deliveries signed with this secret.
    pub async fn start(secret: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let inbox = Arc::new(Inbox {
            secret: secret.to_owned(),
            answer: Mutex::new(StatusCode::ACCEPTED),
            deliveries: Mutex::default(),
            violations: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let router = Router::new()
            .route("/webhook", post(receive))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inbox));
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("a server on loopback runs until it is aborted");
        });
        Self {
            address,
            inbox,
            server,
        }
    }

    /// Returns the URL to deliver to.
    pub fn url(&self) -> String {
        format!("http://{}/webhook", self.address)
    }

    /// Makes the receiver answer with this status from now on; the beginning is 202.
    pub fn answer_with(&self, status: StatusCode) {
        *lock(&self.inbox.answer) = status;
    }

    /// Returns what came in so far, in the order of arrival.
    pub fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.inbox.deliveries).clone()
    }

    /// Waits for a delivery, among those that are there and those to come.
    ///
    /// Panics after twenty seconds, and says what came instead.
    pub async fn wait_for(&self, event: &str, wanted: impl Fn(&Delivery) -> bool) -> Delivery {
        self.wait_for_nth(event, 1, wanted).await
    }

    /// Waits until `nth` deliveries of this kind are there, and returns the last of them.
    pub async fn wait_for_nth(
        &self,
        event: &str,
        nth: usize,
        wanted: impl Fn(&Delivery) -> bool,
    ) -> Delivery {
        let mut count = self.inbox.count.subscribe();
        let find = async {
            loop {
                count.borrow_and_update();
                let found = self
                    .deliveries()
                    .into_iter()
                    .filter(|got| got.event == event && wanted(got))
                    .nth(nth - 1);
                if let Some(found) = found {
                    return found;
                }
                count.changed().await.expect("the inbox outlives its receiver");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), find)
            .await
            .unwrap_or_else(|_| {
                let came: Vec<String> = self
                    .deliveries()
                    .iter()
                    .map(|got| format!("{}/{}", got.event, got.action()))
                    .collect();
                panic!("no such `{event}` delivery came; there were: {}", came.join(", "))
            })
    }

    /// Returns what the sender did wrong so far.
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.inbox.violations).clone()
    }
}

impl Drop for HookReceiver {
    fn drop(&mut self) {
        self.server.abort();
        let violations = self.violations();
        assert!(
            std::thread::panicking() || violations.is_empty(),
            "webhooks broke GitHub's description:\n{}",
            report(&violations)
        );
    }
}

async fn receive(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let found = Validator::github().check_delivery(&headers, &body, inbox.secret.as_bytes());
    lock(&inbox.violations).extend(found);
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let delivery = Delivery {
        event: text("x-github-event"),
        id: text("x-github-delivery"),
        payload: serde_json::from_slice(&body).unwrap_or_default(),
        headers,
    };
    lock(&inbox.deliveries).push(delivery);
    inbox.count.send_modify(|count| *count += 1);
    *lock(&inbox.answer)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
