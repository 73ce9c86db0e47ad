//! The bridge to `git http-backend`: a request goes in as CGI, both bodies are streamed.
//!
//! The pushed or fetched data is handled by git's own `receive-pack` and `upload-pack`, so that what a client
//! sees is as faithful as it can be. What GitHub adds around it (identity, 404, 403) is the caller's business.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio_util::io::ReaderStream;

use super::{Git, GitError};

/// What `git http-backend` has to know of a request.
#[derive(Debug)]
pub(crate) struct CgiRequest<'a> {
    pub(crate) method: &'a str,
    /// The part below the repository, such as `info/refs`.
    pub(crate) service_path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// Who asks; it makes `receive-pack` write reflogs and messages with a name.
    pub(crate) user: &'a str,
}

/// Counts the bytes of both bodies, and sees what is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    looks: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

impl Traffic {
    /// Whether the client only asks where the branches are: `ls-refs` of protocol 2.
    pub(crate) fn looks(&self) -> bool {
        self.looks.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The answer of `git http-backend`, its body still to be read.
#[derive(Debug)]
pub(crate) struct CgiResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    stdout: BufReader<ChildStdout>,
    child: Child,
    traffic: Traffic,
}

impl CgiResponse {
    /// Reads the body to its end and waits for the program: whatever it does to the repository is done then.
    pub(crate) async fn collect(mut self) -> Result<(StatusCode, HeaderMap, Bytes), GitError> {
        let mut body = Vec::new();
        self.stdout.read_to_end(&mut body).await.map_err(broken)?;
        self.child.wait().await.map_err(broken)?;
        self.traffic.sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok((self.status, self.headers, body.into()))
    }

    /// Gives the body piece by piece. The program is killed when the stream is dropped early.
    pub(crate) fn stream(
        self,
    ) -> (
        StatusCode,
        HeaderMap,
        impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) {
        let Self {
            status,
            headers,
            stdout,
            child,
            traffic,
        } = self;
        let stream = ReaderStream::with_capacity(
            KeepChild {
                stdout,
                _child: child,
            },
            64 * 1024,
        )
        .inspect(move |piece| {
            let length = piece.as_ref().map_or(0, Bytes::len);
            traffic.sent.fetch_add(length as u64, Ordering::Relaxed);
        });
        (status, headers, stream)
    }
}

/// Ties the program's life to the reading of its output.
struct KeepChild {
    stdout: BufReader<ChildStdout>,
    _child: Child,
}

impl AsyncRead for KeepChild {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}

fn broken(source: std::io::Error) -> GitError {
    GitError::Pipe {
        command: "http-backend".into(),
        source,
    }
}

impl Git {
    /// Hands a request to `git http-backend` and gives its answer as soon as the head of it is there.
    pub(crate) async fn http_backend(
        &self,
        dir: &Path,
        request: &CgiRequest<'_>,
        body: Body,
        traffic: Traffic,
    ) -> Result<CgiResponse, GitError> {
        let (Some(root), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Err(GitError::Unreadable {
                command: "http-backend",
            });
        };
        let text = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
        let mut command = self.command();
        command
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env(
                "PATH_INFO",
                format!("/{}/{}", name.to_string_lossy(), request.service_path),
            )
            .env("REQUEST_METHOD", request.method)
            .env("QUERY_STRING", request.query)
            .env("REMOTE_USER", request.user)
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("GIT_COMMITTER_NAME", request.user)
            .env("GIT_COMMITTER_EMAIL", "noreply@github.com")
            .env("CONTENT_TYPE", text(header::CONTENT_TYPE).unwrap_or_default())
            .stdin(Stdio::piped());
        for (variable, header) in [
            ("CONTENT_LENGTH", header::CONTENT_LENGTH),
            ("HTTP_CONTENT_ENCODING", header::CONTENT_ENCODING),
            ("GIT_PROTOCOL", HeaderName::from_static("git-protocol")),
        ] {
            if let Some(value) = text(header) {
                command.env(variable, value);
            }
        }
        let mut child = command.spawn().map_err(GitError::Start)?;
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(GitError::Unreadable {
                command: "http-backend",
            });
        };
        let Traffic { looks, received, .. } = traffic.clone();
        // Both end with the program: when it closes its pipes, or when the client goes away.
        tokio::spawn(async move {
            let mut pieces = body.into_data_stream();
            while let Some(Ok(piece)) = pieces.next().await {
                // A request of protocol 2 begins with its command, behind four digits of length.
                if received.fetch_add(piece.len() as u64, Ordering::Relaxed) == 0
                    && piece
                        .get(4..)
                        .is_some_and(|rest| rest.starts_with(b"command=ls-refs"))
                {
                    looks.store(true, Ordering::Relaxed);
                }
                if stdin.write_all(&piece).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            let mut text = String::new();
            if stderr.read_to_string(&mut text).await.is_ok() && !text.trim().is_empty() {
                tracing::debug!(stderr = text.trim(), "git http-backend had something to say");
            }
        });
        let mut stdout = BufReader::new(stdout);
        let (status, headers) = read_head(&mut stdout).await?;
        Ok(CgiResponse {
            status,
            headers,
            stdout,
            child,
            traffic,
        })
    }
}

/// Reads the CGI head: `Name: value` lines up to an empty one, with the status among them.
async fn read_head(stdout: &mut BufReader<ChildStdout>) -> Result<(StatusCode, HeaderMap), GitError> {
    let unreadable = || GitError::Unreadable {
        command: "http-backend",
    };
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).await.map_err(broken)? == 0 {
            return Err(unreadable());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(unreadable)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            status = code.parse().map_err(|_not_a_status| unreadable())?;
        } else {
            let name: HeaderName = name.parse().map_err(|_not_a_name| unreadable())?;
            headers.append(
                name,
                HeaderValue::from_str(value).map_err(|_not_a_value| unreadable())?,
            );
        }
    }
}
