//! `/healthz`: the process is alive. `/readyz`: it can do its work now.
//!
//! Readiness is the sum of named checks. They are asked each time, all of them at once, each for at most [`CHECK_TIMEOUT`]. A process that
//! drains is never ready, so that a load balancer turns away first.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::Shutdown;

/// How long one check may take before it counts as failed.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Check = Arc<dyn Fn() -> CheckFuture + Send + Sync>;

/// The checks of a process. Clones are the same one.
#[derive(Clone)]
pub struct Health {
    shutdown: Shutdown,
    checks: Arc<Mutex<BTreeMap<&'static str, Check>>>,
}

/// What `/readyz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// In one word.
    pub status: Status,
    /// Each check by its name.
    pub checks: BTreeMap<&'static str, CheckResult>,
}

/// Whether the process can do its work now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It can.
    Ready,
    /// A check failed.
    NotReady,
    /// It finishes what it has and takes nothing new.
    Draining,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Whether it passed.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Result<(), String>> for CheckResult {
    fn from(result: Result<(), String>) -> Self {
        Self {
            ready: result.is_ok(),
            reason: result.err(),
        }
    }
}

impl Health {
    /// A process without checks, ready until `shutdown` drains.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            checks: Arc::default(),
        }
    }

    /// Adds a check that is asked at each `/readyz`. Its error is shown to whoever asks: no secrets, one short sentence.
    /// A second check of the same name replaces the first.
    pub fn check<F, R>(&self, name: &'static str, check: F)
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.lock().insert(name, Arc::new(move || Box::pin(check())));
    }

    /// Asks every check now.
    pub async fn readiness(&self) -> Readiness {
        let mut asked = JoinSet::new();
        let mut checks = BTreeMap::new();
        for (name, check) in self.lock().iter() {
            // Until it answers, and if it panics, it has failed.
            checks.insert(*name, CheckResult::from(Err("the check broke".to_owned())));
            let (name, answer) = (*name, check());
            asked.spawn(async move {
                let result = tokio::time::timeout(CHECK_TIMEOUT, answer).await;
                let result = result.unwrap_or_else(|_late| Err(format!("no answer in {CHECK_TIMEOUT:?}")));
                (name, CheckResult::from(result))
            });
        }
        while let Some(answer) = asked.join_next().await {
            if let Ok((name, result)) = answer {
                checks.insert(name, result);
            }
        }
        let status = if self.shutdown.is_draining() {
            Status::Draining
        } else if checks.values().all(|check| check.ready) {
            Status::Ready
        } else {
            Status::NotReady
        };
        Readiness { status, checks }
    }

    /// The routes `/healthz` and `/readyz`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.lock().keys().copied().collect();
        f.debug_struct("Health").field("checks", &names).finish()
    }
}

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

async fn healthz() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

async fn readyz(State(health): State<Health>) -> Response {
    let readiness = health.readiness().await;
    let code = match readiness.status {
        Status::Ready => StatusCode::OK,
        Status::NotReady | Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(readiness)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(health: &Health, path: &str) -> (StatusCode, serde_json::Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = health.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_process_is_ready_once_every_check_passes() {
        let health = Health::new(Shutdown::new());
        let (queue, state) = tokio::sync::watch::channel(Err("starting".to_owned()));
        health.check("queue", move || std::future::ready(state.borrow().clone()));
        health.check("disk", || async { Ok(()) });
        let (status, body) = get(&health, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            body,
            serde_json::json!({
                "status": "not_ready",
                "checks": {"disk": {"ready": true}, "queue": {"ready": false, "reason": "starting"}}
            })
        );
        queue.send(Ok(())).unwrap();
        let (status, body) = get(&health, "/readyz").await;
        assert_eq!((status, &body["status"]), (StatusCode::OK, &"ready".into()));
        queue.send(Err("it is full".to_owned())).unwrap();
        assert_eq!(get(&health, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get(&health, "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_process_that_drains_is_alive_but_not_ready() {
        let shutdown = Shutdown::new();
        let health = Health::new(shutdown.clone());
        assert_eq!(get(&health, "/readyz").await.0, StatusCode::OK);
        shutdown.begin_drain();
        let (status, body) = get(&health, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["status"], "draining");
        assert_eq!(get(&health, "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_or_panics_has_failed() {
        let health = Health::new(Shutdown::new());
        health.check("hangs", std::future::pending);
        health.check("panics", || async { panic!("no luck") });
        let readiness = health.readiness().await;
        assert_eq!(
            readiness.checks["hangs"].reason.as_deref(),
            Some("no answer in 2s")
        );
        assert_eq!(
            readiness.checks["panics"].reason.as_deref(),
            Some("the check broke")
        );
    }
}
