//! A collector: receives traces, metrics and logs by OTLP over HTTP, and keeps them.
//!
//! Give a process [`Collector::variables`], then wait for what it sends: [`Collector::span`], [`Collector::until`].

mod received;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{StatusCode, header};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use received::{Attributes, Kind, Log, Point, Received, Span, Value};

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens on loopback until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    inbox: Arc<Inbox>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Inbox {
    received: Mutex<Received>,
    answer: Mutex<StatusCode>,
    requests: watch::Sender<usize>,
}

impl Collector {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let inbox = Arc::new(Inbox {
            received: Mutex::default(),
            answer: Mutex::new(StatusCode::OK),
            requests: watch::Sender::new(0),
        });
        let router = Router::new()
            .route("/v1/traces", post(receive::<ExportTraceServiceRequest>))
            .route("/v1/metrics", post(receive::<ExportMetricsServiceRequest>))
            .route("/v1/logs", post(receive::<ExportLogsServiceRequest>))
            .layer(DefaultBodyLimit::disable())
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

    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Variables with which a process sends all that it has here, soon after it has it.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
            ("OTEL_BLRP_SCHEDULE_DELAY", "100".to_owned()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned()),
        ]
    }

    /// Answers every request so from now on; what comes with an answer other than 200 is not kept.
    pub fn answer(&self, status: StatusCode) {
        *lock(&self.inbox.answer) = status;
    }

    /// How many requests came so far, those that were refused included.
    pub fn requests(&self) -> usize {
        *self.inbox.requests.borrow()
    }

    /// What came so far.
    pub fn received(&self) -> Received {
        lock(&self.inbox.received).clone()
    }

    /// Waits until `find` finds what it looks for.
    pub async fn until<T>(&self, what: &str, mut find: impl FnMut(&Received) -> Option<T>) -> T {
        let mut requests = self.inbox.requests.subscribe();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                requests.borrow_and_update();
                if let Some(found) = find(&lock(&self.inbox.received)) {
                    return found;
                }
                requests.changed().await.expect("the sender lives in the inbox");
            }
        });
        found.await.unwrap_or_else(|_late| {
            let received = self.received();
            let names: Vec<&str> = received.spans.iter().map(|span| span.name.as_str()).collect();
            panic!("this did not come within {PATIENCE:?}: {what}; spans: {names:?}")
        })
    }

    /// Waits for a span whose name begins so.
    pub async fn span(&self, name: &str) -> Span {
        let find = |received: &Received| received.spans_named(name).next().cloned();
        self.until(&format!("a span `{name}`"), find).await
    }

    /// Waits for a metric, and returns its latest points.
    pub async fn metric(&self, name: &str) -> Vec<Point> {
        let find = |received: &Received| {
            let points: Vec<Point> = received.points(name).cloned().collect();
            (!points.is_empty()).then_some(points)
        };
        self.until(&format!("the metric `{name}`"), find).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive<T: Message + Default + Into<Received>>(
    State(inbox): State<Arc<Inbox>>,
    headers: http::HeaderMap,
    body: Bytes,
) -> Response {
    let status = *lock(&inbox.answer);
    let protobuf = "application/x-protobuf";
    let answer = if status != StatusCode::OK {
        status.into_response()
    } else if headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind != protobuf)
    {
        StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response()
    } else {
        match T::decode(body.clone()) {
            Ok(message) => {
                let mut received = lock(&inbox.received);
                received.add(message.into());
                received.bodies.push(body);
                // An empty message is a whole success.
                ([(header::CONTENT_TYPE, protobuf)], Bytes::new()).into_response()
            }
            Err(broken) => (StatusCode::BAD_REQUEST, broken.to_string()).into_response(),
        }
    };
    inbox.requests.send_modify(|requests| *requests += 1);
    answer
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
