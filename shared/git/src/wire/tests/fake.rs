//! A server that answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method, Uri};

/// One answer.
pub(super) type Told = Response;

/// Serves the answers in their order, and the last one for ever after. Says the address, and collects what was asked.
pub(super) struct Fake {
    pub(super) url: String,
    pub(super) asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Fake {
    /// A server that makes each answer, by its number, for itself.
    pub(super) async fn new(answer: impl Fn(usize) -> Told + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<(String, HeaderMap)>>> = Arc::default();
        let log = Arc::clone(&asked);
        let answer = Arc::new(answer);
        let handler = move |method: Method, uri: Uri, headers: HeaderMap| {
            let number = {
                let mut log = log.lock().unwrap();
                log.push((format!("{method} {uri}"), headers));
                log.len() - 1
            };
            let answer = Arc::clone(&answer);
            async move { answer(number) }
        };
        let app = axum::Router::new().fallback(handler);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a/b.git", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked }
    }

    /// A server of version 2 that can do everything, and then answers each request so.
    pub(super) async fn of_version_2(answer: impl Fn() -> Told + Send + Sync + 'static) -> Self {
        Self::new(move |number| if number == 0 { offer() } else { answer() }).await
    }
}

/// What a server of version 2 says first.
pub(super) fn offer() -> Told {
    let mut lines = Vec::new();
    for line in [
        "version 2",
        "ls-refs=unborn",
        "fetch=shallow wait-for-done filter",
        "object-format=sha1",
    ] {
        lines.extend(line_of(format!("{line}\n").as_bytes()));
    }
    lines.extend(b"0000");
    told("application/x-git-upload-pack-advertisement", lines)
}

/// What receive-pack says first, with no ref.
pub(super) fn receive_offer() -> Told {
    let first = format!(
        "{} capabilities^{{}}\0report-status-v2 side-band-64k atomic delete-refs object-format=sha1\n",
        "0".repeat(40)
    );
    let lines = [
        line_of(b"# service=git-receive-pack\n"),
        b"0000".to_vec(),
        line_of(first.as_bytes()),
        b"0000".to_vec(),
    ];
    told("application/x-git-receive-pack-advertisement", lines.concat())
}

/// A result of upload-pack.
pub(super) fn result(body: impl Into<Body>) -> Told {
    told("application/x-git-upload-pack-result", body)
}

/// A result of receive-pack.
pub(super) fn receive_result(body: impl Into<Body>) -> Told {
    told("application/x-git-receive-pack-result", body)
}

pub(super) fn told(kind: &str, body: impl Into<Body>) -> Told {
    Response::builder()
        .header("content-type", kind)
        .body(body.into())
        .unwrap()
}

/// One pkt-line.
pub(super) fn line_of(data: &[u8]) -> Vec<u8> {
    let mut line = format!("{:04x}", data.len() + 4).into_bytes();
    line.extend_from_slice(data);
    line
}

/// One pkt-line on a band.
pub(super) fn band(band: u8, data: &[u8]) -> Vec<u8> {
    line_of(&[&[band], data].concat())
}

/// A fetch's answer with this pack.
pub(super) fn with_pack(pack: &[u8]) -> Vec<u8> {
    let mut lines = line_of(b"packfile\n");
    for part in pack.chunks(1000) {
        lines.extend(band(1, part));
    }
    lines.extend(b"0000");
    lines
}

/// A body that comes in these pieces, and then never goes on.
pub(super) fn stalled(pieces: Vec<Vec<u8>>) -> Body {
    Body::new(Stalled(pieces.into()))
}

struct Stalled(VecDeque<Vec<u8>>);

impl hyper::body::Body for Stalled {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        match self.0.pop_front() {
            Some(piece) => std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(piece.into())))),
            None => std::task::Poll::Pending,
        }
    }
}

/// A body that repeats these bytes for ever.
pub(super) fn endless(piece: &'static [u8]) -> Body {
    Body::new(Endless(piece))
}

struct Endless(&'static [u8]);

impl hyper::body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let piece = bytes::Bytes::from_static(self.0);
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(piece))))
    }
}
