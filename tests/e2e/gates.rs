//! Gates that ask others: servers over HTTP, Prometheus, teams and code owners.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode, Uri};
use lockflight_tests::world::{HUBOT, REPOSITORY, Setup};
use tokio::net::TcpListener;

use crate::native::{change, native, said, until_said};

/// Somebody of the organization who may write, and is in no team.
const ANN: &str = "ann";

/// A server on loopback that gates ask.
#[derive(Clone, Debug)]
struct Health {
    port: u16,
    /// What it answers to everything.
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Health {
    async fn start(status: u16, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let health = Self {
            port: listener.local_addr().unwrap().port(),
            answer: Arc::new(Mutex::new((status, body.to_owned()))),
            asked: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(health.clone());
        // It ends with the test's runtime.
        drop(tokio::spawn(async move { axum::serve(listener, router).await }));
        health
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }
}

async fn answer(
    State(health): State<Health>,
    uri: Uri,
) -> (StatusCode, [(HeaderName, &'static str); 1], String) {
    health.asked.lock().unwrap().push(uri.to_string());
    let (status, body) = health.answer.lock().unwrap().clone();
    let json = [(CONTENT_TYPE, "application/json")];
    (StatusCode::from_u16(status).unwrap(), json, body)
}

/// Staging, a gate, and production.
fn gated(gates: &str, servers: &str, allowed: Option<&Health>) -> Setup {
    let policy = format!(
        "
version: 1
environments:
  staging: {{ path: clusters/staging }}
  production: {{ path: clusters/prod }}
{servers}
flows:
  - from: {{ path: workspace }}
    waves:
      - {{ to: [staging], merge: auto, gates: {{ {gates} }} }}
      - {{ to: [production] }}
"
    );
    let setup = native(&policy).setting("promotion.merge_poll=200ms");
    match allowed {
        Some(health) => setup
            .setting(&format!("outbound.allowed_hosts={}", health.url()))
            .setting("outbound.allow_private=127.0.0.0/8"),
        None => setup,
    }
}

#[tokio::test]
async fn a_server_that_is_asked_opens_the_next_wave_when_it_says_so() {
    let health = Health::start(200, r#"{"status": {"health": "Progressing"}}"#).await;
    let servers = format!(
        "gates:\n  argocd:\n    http: {{ url: '{}/app', pointer: /status/health, equals: Healthy, every: 10s }}",
        health.url()
    );
    gated("healthy: argocd", &servers, Some(&health))
        .run(async |world| {
            let change = change(world).await;
            until_said(world, change, "Progressing").await;
            assert_eq!(world.promotions().len(), 1);

            // What can't be read is closed.
            health.answers(500, "");
            until_said(world, change, "500").await;
            assert_eq!(world.promotions().len(), 1);

            health.answers(200, r#"{"status": {"health": "Healthy"}}"#);
            world.promotions_of::<2>(change).await;
            let asked = health.asked.lock().unwrap().clone();
            assert!(asked.iter().all(|asked| asked == "/app"), "{asked:?}");
        })
        .await;
}

#[tokio::test]
async fn prometheus_opens_the_next_wave_when_the_query_is_below_the_threshold() {
    let sample = |value: &str| {
        format!(
            r#"{{"status": "success", "data": {{"resultType": "vector", "result": [{{"metric": {{}}, "value": [1770000000, "{value}"]}}]}}}}"#
        )
    };
    let health = Health::start(200, &sample("0.75")).await;
    let servers = format!(
        "gates:\n  errors:\n    prometheus: {{ url: '{}', query: 'sum(rate(errors[$window]))', below: 0.5, window: 10m, every: 10s }}",
        health.url()
    );
    gated("healthy: errors", &servers, Some(&health))
        .run(async |world| {
            let change = change(world).await;
            until_said(world, change, "0.75").await;
            assert_eq!(world.promotions().len(), 1);
            health.answers(200, &sample("0.25"));
            world.promotions_of::<2>(change).await;
            let asked = health.asked.lock().unwrap().clone();
            assert!(
                asked
                    .iter()
                    .all(|asked| asked.starts_with("/api/v1/query") && asked.contains("10m")),
                "{asked:?}"
            );
        })
        .await;
}

#[tokio::test]
async fn a_server_that_nobody_allowed_is_never_asked_and_keeps_the_gate_closed() {
    let health = Health::start(200, r#""Healthy""#).await;
    let servers = format!(
        "gates:\n  argocd:\n    http: {{ url: '{}/app', equals: Healthy, every: 10s }}",
        health.url()
    );
    gated("healthy: argocd", &servers, None)
        .run(async |world| {
            let change = change(world).await;
            until_said(world, change, "may not be called").await;
            assert_eq!(world.promotions().len(), 1);
            assert!(health.asked.lock().unwrap().is_empty());
        })
        .await;
}

#[tokio::test]
async fn only_the_approval_of_somebody_in_the_team_counts() {
    gated("approval: { count: 1, teams: [owners] }", "", None)
        .run(async |world| {
            world.forge.set_team("acme", "owners", &[HUBOT]);
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            until_said(world, change, "of owners").await;
            let approved = world.forge.approve(REPOSITORY, staging.number, ANN).await;
            approved.unwrap();
            world.quiet().await;
            assert!(world.is_open(staging.number), "{}", world.dump());

            let approved = world.forge.approve(REPOSITORY, staging.number, HUBOT).await;
            approved.unwrap();
            world.until_merged(staging.number).await;
            world.promotions_of::<2>(change).await;
        })
        .await;
}

#[tokio::test]
async fn an_owner_of_each_changed_file_has_to_approve() {
    gated("approval: { count: 1, code_owners: true }", "", None)
        .file("CODEOWNERS", "/clusters/staging/ @hubot\n")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            until_said(world, change, "an owner of").await;
            let approved = world.forge.approve(REPOSITORY, staging.number, ANN).await;
            approved.unwrap();
            world.quiet().await;
            assert!(world.is_open(staging.number), "{}", world.dump());
            let last = world.statuses(change).pop().unwrap();
            assert!(said(&last).contains("an owner of"), "{}", said(&last));

            let approved = world.forge.approve(REPOSITORY, staging.number, HUBOT).await;
            approved.unwrap();
            world.until_merged(staging.number).await;
            world.promotions_of::<2>(change).await;
        })
        .await;
}
