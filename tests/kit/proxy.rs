//! A reverse proxy that holds a client and a forge to GitHub's description.
//!
//! A test points the product at the proxy instead of the forge. REST calls (`/api/v3/..`) are read whole, judged and
//! passed on unchanged; `/api/graphql` is judged by the one mutation that Lockflight uses; everything else (git, pages)
//! streams through unread.
//!
//! The `Host` header is kept, for a forge that builds its URLs from it. One that names its own address instead would lead
//! a client around the proxy, so `Link` and `Location` are turned to the proxy. Bodies are passed on as they are: what a
//! client signs or compares has to stay the same.
//!
//! It is written on hyper rather than on axum because a forge that resets a connection in the middle must look so to the
//! client too, and a handler of axum always answers something.

mod graphql;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::openapi::{Side, Validator, Violation, report};
use crate::wire::{self, Body, full};

const REST: &str = "/api/v3";
const GRAPHQL: &str = "/api/graphql";

/// One REST or GraphQL call that went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The HTTP method.
    pub method: String,
    /// The path without `/api/v3`.
    pub path: String,
    /// The query without `?`.
    pub query: String,
    /// The operation of GitHub's description, such as `POST /repos/{owner}/{repo}/pulls`; empty if there is none.
    pub operation: String,
    /// The status of the answer; 0 where the forge closed the connection without one.
    pub status: u16,
}

#[derive(Debug)]
struct Log {
    address: SocketAddr,
    upstream: SocketAddr,
    exchanges: Mutex<Vec<Exchange>>,
    violations: Mutex<Vec<Violation>>,
}

/// Listens on loopback until it is dropped. Dropping it fails the test if a violation was seen.
#[derive(Debug)]
pub struct ValidatingProxy {
    address: SocketAddr,
    log: Arc<Log>,
    server: JoinHandle<()>,
    finished: bool,
}

impl ValidatingProxy {
    /// Starts a proxy on a free port in front of a forge, which is given as `http://127.0.0.1:port`.
    pub async fn start(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/');
        let upstream: SocketAddr = upstream
            .parse()
            .unwrap_or_else(|error| panic!("{upstream} is no address with a port: {error}"));
        assert!(upstream.ip().is_loopback(), "{upstream} is not on this machine");
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let log = Arc::new(Log {
            address,
            upstream,
            exchanges: Mutex::default(),
            violations: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&log)));
        Self {
            address,
            log,
            server,
            finished: false,
        }
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what to use instead of `https://github.com`: `http://127.0.0.1:port`, without a slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what to use instead of `https://api.github.com`: `http://127.0.0.1:port/api/v3`.
    pub fn api_url(&self) -> String {
        format!("{}{REST}", self.url())
    }

    /// Returns every API call so far, in the order in which they were answered.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.log.exchanges).clone()
    }

    /// Returns the operations that were called, sorted, each once.
    pub fn operations(&self) -> Vec<String> {
        let mut found: Vec<String> = self
            .exchanges()
            .into_iter()
            .map(|exchange| exchange.operation)
            .filter(|name| !name.is_empty())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Returns the violations so far.
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.log.violations).clone()
    }

    /// Returns the violations so far and forgets them: for a test that provokes one on purpose.
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut *lock(&self.log.violations))
    }

    /// Ends the proxy, and fails the test if a violation was seen.
    pub fn finish(mut self) {
        self.finished = true;
        self.server.abort();
        self.assert_clean();
    }

    fn assert_clean(&self) {
        let violations = self.violations();
        assert!(
            violations.is_empty(),
            "GitHub's description was broken:\n{}",
            report(&violations)
        );
    }
}

impl Drop for ValidatingProxy {
    fn drop(&mut self) {
        self.server.abort();
        if !self.finished && !std::thread::panicking() {
            self.assert_clean();
        }
    }
}

async fn serve(listener: TcpListener, log: Arc<Log>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(serve_connection(client, Arc::clone(&log)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(client: TcpStream, log: Arc<Log>) {
    let service = service_fn(move |request| {
        let log = Arc::clone(&log);
        async move { forward(request, &log).await }
    });
    // An error here is a client or a forge that went away, which is what some tests are about.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(client), service)
            .await,
    );
}

async fn forward(request: Request<Incoming>, log: &Log) -> io::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    match path.strip_prefix(REST) {
        Some(path) if path.is_empty() || path.starts_with('/') => forward_rest(request, path, log).await,
        _ if path == GRAPHQL => forward_graphql(request, log).await,
        _ => wire::send(log.upstream, request.map(BodyExt::boxed)).await,
    }
}

async fn forward_rest(request: Request<Incoming>, path: &str, log: &Log) -> io::Result<Response<Body>> {
    let call = Call::read(request, path).await?;
    let validator = Validator::github();
    let mut found = validator.check_request(&call.method, path, &call.query, &call.body);
    if path == "/graphql" {
        // https://docs.github.com/enterprise-server@latest/graphql/guides/managing-enterprise-accounts
        found.push(call.violation("", "an Enterprise Server has GraphQL at /api/graphql"));
    }
    if call
        .headers
        .get(header::USER_AGENT)
        .is_none_or(header::HeaderValue::is_empty)
    {
        // https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api#user-agent-required
        found.push(call.violation("User-Agent", "GitHub refuses requests without one"));
    }
    log.add_violations(found);

    let operation = validator.operation(&call.method, path).unwrap_or_default();
    let answer = call.send(log, operation).await?;
    if takes_json(&call.headers) {
        let status = answer.status().as_u16();
        let mut found = validator.check_response(&call.method, path, status, answer.body());
        found.extend(check_media_type(&call, &answer));
        log.add_violations(found);
    }
    Ok(answer.map(full))
}

async fn forward_graphql(request: Request<Incoming>, log: &Log) -> io::Result<Response<Body>> {
    let call = Call::read(request, GRAPHQL).await?;
    let violation = |side: Side| {
        let exchange = format!("{} {GRAPHQL}", call.method);
        move |message: String| Violation {
            side,
            exchange: exchange.clone(),
            place: String::new(),
            message,
        }
    };
    let asked = graphql::check_request(&call.method, &call.body);
    log.add_violations(asked.into_iter().map(violation(Side::Request)).collect());
    let answer = call.send(log, "").await?;
    let answered = graphql::check_response(answer.status(), answer.body());
    log.add_violations(answered.into_iter().map(violation(Side::Response)).collect());
    Ok(answer.map(full))
}

/// A request that was read whole.
struct Call {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    parts: http::request::Parts,
}

impl Call {
    async fn read(request: Request<Incoming>, path: &str) -> io::Result<Self> {
        let (mut parts, body) = request.into_parts();
        // A compressed answer could not be judged.
        parts.headers.remove(header::ACCEPT_ENCODING);
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Self {
            method: parts.method.to_string(),
            path: path.to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
            body,
            parts,
        })
    }

    /// Passes the request on, and records how that ended.
    async fn send(&self, log: &Log, operation: &str) -> io::Result<Response<Bytes>> {
        let request = Request::from_parts(self.parts.clone(), full(self.body.clone()));
        let answer = async {
            let (mut parts, body) = wire::send(log.upstream, request).await?.into_parts();
            log.turn_to_proxy(&mut parts.headers);
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(Response::from_parts(parts, body))
        }
        .await;
        lock(&log.exchanges).push(Exchange {
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            operation: operation.to_owned(),
            status: answer
                .as_ref()
                .map_or(0, |answer: &Response<Bytes>| answer.status().as_u16()),
        });
        answer
    }

    fn violation(&self, place: &str, message: &str) -> Violation {
        Violation {
            side: Side::Request,
            exchange: format!("{} {}", self.method, self.path),
            place: place.to_owned(),
            message: message.to_owned(),
        }
    }
}

impl Log {
    fn turn_to_proxy(&self, headers: &mut HeaderMap) {
        for name in [header::LINK, header::LOCATION] {
            let Some(value) = headers.get(&name).and_then(|value| value.to_str().ok()) else {
                continue;
            };
            let (own, proxy) = (
                format!("http://{}/", self.upstream),
                format!("http://{}/", self.address),
            );
            if let Ok(turned) = header::HeaderValue::from_str(&value.replace(&own, &proxy)) {
                headers.insert(name, turned);
            }
        }
    }

    fn add_violations(&self, found: Vec<Violation>) {
        lock(&self.violations).extend(found);
    }
}

/// Says whether the client wants the JSON that the description describes, and not a raw file or a diff.
fn takes_json(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    ![".raw", ".diff", ".patch", ".sha", ".html"]
        .iter()
        .any(|media| accept.contains(media))
}

fn check_media_type(call: &Call, answer: &Response<Bytes>) -> Option<Violation> {
    let media = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let is_wrong = !answer.body().is_empty()
        && !answer.status().is_server_error()
        && !media.starts_with("application/json");
    is_wrong.then(|| Violation {
        side: Side::Response,
        exchange: format!("{} {} -> {}", call.method, call.path, answer.status().as_u16()),
        place: "Content-Type".to_owned(),
        message: format!("GitHub answers application/json here, not `{media}`"),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
