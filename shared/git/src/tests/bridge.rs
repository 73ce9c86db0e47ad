//! `git http-backend` behind HTTP, with a token.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{HeaderMap, Method, Uri};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::testing::Upstream;
use crate::transport::basic;
use crate::{Credentials, Remote};

/// What the servers of these tests take for the token.
pub(crate) const TOKEN: &str = "s3cret-t0ken";

pub(crate) fn remote(url: &str) -> Remote {
    remote_with(url, TOKEN)
}

pub(crate) fn remote_with(url: &str, token: &str) -> Remote {
    Remote {
        url: url.to_owned(),
        credentials: Some(Credentials::token(SecretString::from(token))),
    }
}

/// One request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Such as `POST /git-upload-pack`.
    pub(crate) what: String,
    /// The port that it came from: one for each connection.
    pub(crate) port: u16,
}

/// A server of one upstream.
#[derive(Clone)]
pub(crate) struct Bridge {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_old: Arc<AtomicBool>,
}

impl Bridge {
    /// Serves `upstream`, to be read in part and to be written to.
    pub(crate) async fn of(upstream: &Upstream) -> Self {
        for (key, value) in [
            ("uploadpack.allowFilter", "true"),
            ("http.receivepack", "true"),
            ("receive.autogc", "false"),
        ] {
            upstream.git(&["config", key, value]);
        }
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let is_old: Arc<AtomicBool> = Arc::default();
        let speaks_old = Arc::clone(&is_old);
        let (root, log) = (upstream.path().parent().unwrap().to_owned(), Arc::clone(&asked));
        let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>,
                            method: Method,
                            uri: Uri,
                            mut headers: HeaderMap,
                            body: Bytes| {
            if speaks_old.load(Ordering::Relaxed) {
                headers.remove("git-protocol");
            }
            let what = format!("{method} {}", uri.to_string().trim_start_matches("/upstream.git"));
            log.lock().unwrap().push(Asked {
                what,
                port: peer.port(),
            });
            answer(root.clone(), method, uri, headers, body)
        };
        let app = axum::Router::new()
            .fallback(handler)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .into_make_service_with_connect_info::<SocketAddr>();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/upstream.git", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, is_old }
    }

    pub(crate) fn remote(&self) -> Remote {
        remote(&self.url)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on the server speaks what it spoke before version 2, or version 2 again.
    pub(crate) fn speak_old(&self, is_old: bool) {
        self.is_old.store(is_old, Ordering::Relaxed);
    }

    /// What was asked since this was called last.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.take().into_iter().map(|asked| asked.what).collect()
    }

    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn answer(root: PathBuf, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
            .to_owned()
    };
    let credentials = Credentials::token(SecretString::from(TOKEN));
    if header("authorization") != format!("Basic {}", basic(&credentials)) {
        return Response::builder()
            .status(401)
            .header("www-authenticate", "Basic realm=\"git\"")
            .body(Body::empty())
            .unwrap();
    }
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "x-access-token")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = backend.stdin.take().unwrap();
    let fed = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = backend.wait_with_output().await.unwrap().stdout;
    // A backend that gives up does not read on.
    drop(fed.await.unwrap());
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap().parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).unwrap()
}
