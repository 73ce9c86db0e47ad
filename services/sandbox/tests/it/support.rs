//! A forge with one repository, a small HTTP client and a hermetic `git`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use lockflight_sandbox::{Forge, ForgeOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

pub(crate) const REPO: &str = "acme/gitops";

pub(crate) struct World {
    pub(crate) forge: Forge,
    pub(crate) token: String,
    pub(crate) dir: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// The message of the first entry of `errors`, or the message itself.
    pub(crate) fn complaint(&self) -> String {
        let body = self.json();
        body["errors"][0]["message"]
            .as_str()
            .or(body["message"].as_str())
            .unwrap_or_default()
            .to_owned()
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(request: Request<Full<Bytes>>, authority: &str) -> Result<Answer, hyper::Error> {
    let stream = TcpStream::connect(authority).await.expect("the forge listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driven = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    drop(sender);
    driven.await.expect("no panic")?;
    let text = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        text,
    })
}

impl World {
    /// A forge with `acme/gitops`, which has one commit on `main`, and the token of `ann`.
    pub(crate) async fn start() -> Self {
        Self::with(|_options| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ForgeOptions)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut options = ForgeOptions::new(dir.path().join("forge"));
        change(&mut options);
        let forge = Forge::start(options).await.unwrap();
        forge.create_repository(REPO, "main").await.unwrap();
        forge
            .commit_files(
                REPO,
                "main",
                &[
                    ("lab/app.yaml", Some(b"replicas: 1\n".as_slice())),
                    ("prod/app.yaml", Some(b"replicas: 1\n".as_slice())),
                    ("README.md", Some(b"# GitOps\n".as_slice())),
                ],
                "Begin",
            )
            .await
            .unwrap();
        let token = forge.personal_token("ann").unwrap();
        Self { forge, token, dir }
    }

    /// A branch that changes one file, and an open pull request for it.
    pub(crate) async fn pull_request(&self, branch: &str, path: &str, content: &str) -> u64 {
        self.forge
            .commit_files(REPO, branch, &[(path, Some(content.as_bytes()))], "Change a file")
            .await
            .unwrap();
        self.forge
            .open_pull_request(REPO, branch, "main", "A change", "bob")
            .await
            .unwrap()
    }

    pub(crate) fn authority(&self) -> String {
        self.forge.url().trim_start_matches("http://").to_owned()
    }

    /// Calls the API as somebody. An empty token is nobody.
    pub(crate) async fn try_call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, hyper::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v3{path}"))
            .header("host", self.authority())
            .header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        send(request.body(Full::new(body)).unwrap(), &self.authority()).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.try_call(&self.token, method, path, body, &[])
            .await
            .expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The address of the repository with a token in it.
    pub(crate) fn remote(&self, token: &str) -> String {
        self.forge
            .git_url(REPO)
            .replace("http://", &format!("http://x-access-token:{token}@"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// What `git` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn fine(self) -> Self {
        assert!(self.ok, "{}{}", self.out, self.err);
        self
    }
}

/// Runs `git` with nobody's configuration.
pub(crate) async fn git(dir: &Path, args: &[&str]) -> Said {
    let output = tokio::process::Command::new("git")
        .args(args)
        .current_dir(dir)
        .envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "true"),
            ("GIT_AUTHOR_NAME", "Ann"),
            ("GIT_AUTHOR_EMAIL", "ann@example.com"),
            ("GIT_AUTHOR_DATE", "1700000000 +0000"),
            ("GIT_COMMITTER_NAME", "Ann"),
            ("GIT_COMMITTER_EMAIL", "ann@example.com"),
            ("GIT_COMMITTER_DATE", "1700000000 +0000"),
            ("LC_ALL", "C"),
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("git runs");
    Said {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
