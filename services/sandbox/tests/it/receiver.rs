//! A receiver of webhooks that keeps what it gets.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One webhook that came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `pull_request opened`, or `push`.
    pub(crate) fn name(&self) -> String {
        let event = self.header("x-github-event");
        match self.json()["action"].as_str() {
            Some(action) => format!("{event} {action}"),
            None => event.to_owned(),
        }
    }
}

#[derive(Clone)]
struct Desk {
    got: Arc<Mutex<Vec<Got>>>,
    status: Arc<Mutex<StatusCode>>,
}

pub(crate) struct Receiver {
    desk: Desk,
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> StatusCode {
    desk.got.lock().unwrap().push(Got { headers, body });
    *desk.status.lock().unwrap()
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let desk = Desk {
            got: Arc::default(),
            status: Arc::new(Mutex::new(StatusCode::ACCEPTED)),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/webhook", post(take))
            .with_state(desk.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { desk, url, task }
    }

    pub(crate) fn answer_with(&self, status: StatusCode) {
        *self.desk.status.lock().unwrap() = status;
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.desk.got.lock().unwrap().clone()
    }

    /// The names of what came, sorted: webhooks may overtake each other.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .got()
            .iter()
            .map(Got::name)
            .filter(|name| name != "ping")
            .collect();
        names.sort();
        names
    }

    pub(crate) fn find(&self, name: &str) -> Got {
        self.got()
            .into_iter()
            .find(|got| got.name() == name)
            .unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn forget(&self) {
        self.desk.got.lock().unwrap().clear();
    }
}
