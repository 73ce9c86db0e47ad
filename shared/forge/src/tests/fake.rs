//! A GitHub that says what a test tells it to, and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use base64::Engine as _;
use lockflight_promotion::change::Repository;
use lockflight_promotion::{InstallationId, RepoId, RepoName};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::retry::Schedule;
use crate::wire::lock;
use crate::{Auth, Forge, ForgeConfig, RepoClient};

pub(crate) const TOKEN: &str = "ghp_canary0123456789";
/// The prefix of the REST API, as on Enterprise Server.
pub(crate) const API: &str = "/api/v3";
pub(crate) const REPO: &str = "/repos/acme/gitops";
pub(crate) const REPO_ID: u64 = 42;

/// What is answered once.
#[derive(Clone, Debug)]
pub(crate) struct Say {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    /// The connection breaks in the middle of the body.
    Broken,
    /// No answer ever comes.
    Silent,
}

pub(crate) fn say(status: u16, body: &Value) -> Say {
    Say {
        status,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string(),
        kind: Kind::Whole,
    }
}

pub(crate) fn raw(status: u16, body: impl Into<String>) -> Say {
    Say {
        body: body.into(),
        ..say(status, &Value::Null)
    }
}

pub(crate) fn broken() -> Say {
    Say {
        kind: Kind::Broken,
        ..say(200, &json!({"number": 1}))
    }
}

pub(crate) fn silent() -> Say {
    Say {
        kind: Kind::Silent,
        ..say(200, &Value::Null)
    }
}

impl Say {
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn authorization(&self) -> &str {
        self.headers
            .get("authorization")
            .map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<(Method, String), VecDeque<Say>>>,
    asked: Mutex<Vec<Asked>>,
}

/// The fake; it stops when it is dropped.
pub(crate) struct Fake {
    pub(crate) origin: String,
    script: Arc<Script>,
    server: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Script::default());
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            origin,
            script,
            server,
        }
    }

    /// Answers `method` at a REST path and query with these, one after the other; the last one stays.
    pub(crate) fn on(&self, method: Method, path: &str, answers: impl IntoIterator<Item = Say>) {
        self.on_target(method, &format!("{API}{path}"), answers);
    }

    /// Like [`Self::on`], for any path of the origin.
    pub(crate) fn on_target(&self, method: Method, target: &str, answers: impl IntoIterator<Item = Say>) {
        lock(&self.script.answers).insert((method, target.to_owned()), answers.into_iter().collect());
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.script.asked).clone()
    }

    /// How often this was asked, whatever the query.
    pub(crate) fn count(&self, method: &Method, path: &str) -> usize {
        let path = format!("{API}{path}");
        self.asked()
            .iter()
            .filter(|asked| asked.method == *method && asked.target.split('?').next() == Some(&path))
            .count()
    }

    pub(crate) fn config(&self, auth: Auth) -> ForgeConfig {
        let mut config = ForgeConfig::new(format!("{}{API}", self.origin), auth);
        config.request_timeout = Duration::from_secs(5);
        config.schedule = Schedule {
            waits: vec![Duration::from_millis(4); 3],
            not_found: vec![Duration::from_millis(4); 2],
            total: Duration::from_secs(10),
        };
        config
    }

    pub(crate) fn forge(&self) -> Forge {
        Forge::new(self.config(Auth::token(TOKEN))).unwrap()
    }

    /// A client of a repository that was seen before.
    pub(crate) async fn client(&self) -> RepoClient {
        self.client_with(self.config(Auth::token(TOKEN))).await
    }

    pub(crate) async fn client_with(&self, config: ForgeConfig) -> RepoClient {
        let forge = Forge::new(config).unwrap();
        let client = forge.repository(&repository(None)).await.unwrap();
        client.expect(client.id()).unwrap();
        client
    }

    pub(crate) fn app(&self) -> Forge {
        Forge::new(self.config(Auth::app(7, KEY.as_str()))).unwrap()
    }
}

async fn answer(
    State(script): State<Arc<Script>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = uri.path_and_query().unwrap().as_str().to_owned();
    lock(&script.asked).push(Asked {
        method: method.clone(),
        target: target.clone(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    });
    let say = {
        let mut answers = lock(&script.answers);
        match answers.get_mut(&(method, target)) {
            Some(queue) if queue.len() > 1 => queue.pop_front(),
            Some(queue) => queue.front().cloned(),
            None => None,
        }
    };
    let say = say.unwrap_or_else(say_not_found);
    if say.kind == Kind::Silent {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(say.status);
    for (name, value) in say.headers {
        response = response.header(name, value);
    }
    if say.kind == Kind::Broken {
        response = response.header("content-length", say.body.len() + 100);
    }
    response.body(Body::from(say.body)).unwrap()
}

fn say_not_found() -> Say {
    say(
        404,
        &json!({"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}),
    )
}

pub(crate) fn repository(installation: Option<u64>) -> Repository {
    Repository {
        id: RepoId::new(REPO_ID),
        name: RepoName::parse("acme/gitops").unwrap(),
        installation: installation.map(InstallationId::new),
    }
}

/// A pull request as GitHub shows it, as far as this crate looks.
pub(crate) fn pull(number: u64) -> Value {
    json!({
        "number": number, "node_id": "PR_1", "html_url": "https://github.example/acme/gitops/pull/7",
        "title": "A title", "body": null, "user": {"login": "octocat", "id": 1, "type": "User"},
        "state": "open", "draft": false, "merged": false, "merged_at": null,
        "merge_commit_sha": "3333333333333333333333333333333333333333",
        "head": {"ref": "topic", "sha": HEAD, "repo": {"id": REPO_ID, "full_name": "acme/gitops", "default_branch": "main"}},
        "base": {"ref": "main", "sha": BASE, "repo": {"id": REPO_ID, "full_name": "acme/gitops", "default_branch": "main"}},
        "labels": [{"name": "promotion"}], "assignees": [{"login": "hubot", "type": "User"}],
        "commits": 1, "changed_files": 2, "mergeable": true, "mergeable_state": "clean",
        "created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:01Z",
    })
}

pub(crate) const HEAD: &str = "1111111111111111111111111111111111111111";
pub(crate) const BASE: &str = "2222222222222222222222222222222222222222";

/// A key made for this run of the tests.
pub(crate) static KEY: LazyLock<String> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
});
