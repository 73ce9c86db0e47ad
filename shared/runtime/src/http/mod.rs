//! Serves a router, with limits on connections that are slow or many.
//!
//! What it guarantees: at most [`Limits::connections`] connections are open at once, the others wait in the kernel; one that does not
//! send a whole request head in [`Limits::head_timeout`], idle keep-alive included, is closed; a connection that is answered before its
//! body was read gets the answer, not a reset. When the drain begins, no connection is accepted any more, requests in hand are answered,
//! and idle connections are closed. At the hard stop every connection is dropped.
//!
//! What it ignores: how long a body takes. That is for the handler, which alone knows what it expects.

mod unread;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service as _;
use tracing::{debug, error, warn};

use crate::Shutdown;
use crate::panics;

use unread::Unread;

/// The `[http]` section: where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HttpConfig {
    /// Address and port. Port 0 takes any that is free.
    pub listen: std::net::SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)),
        }
    }
}

/// Limits on the connections of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many may be open at once.
    pub connections: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub head_timeout: Duration,
    /// How long the rest of a body that nobody wants is read after the answer, so that the client gets to read the answer.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(2),
        }
    }
}

/// Serves `router` on `listener` with the default [`Limits`] until the drain, and returns when every connection has ended.
///
/// # Errors
/// When the listener is broken for good. One that can't accept for a while (out of file descriptors) is tried again.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) -> std::io::Result<()> {
    serve_with(Limits::default(), listener, router, shutdown).await
}

/// [`serve`], with limits of one's own.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let permits = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let slots = Arc::new(Semaphore::new(permits as usize));
    loop {
        let accepted = tokio::select! {
            () = shutdown.draining() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted? else { break };
        let (router, ours) = (router.clone(), shutdown.clone());
        drop(shutdown.spawn_bare("connection", async move {
            let _slot = slot;
            tokio::select! {
                () = ours.cancelled() => {}
                () = connection(limits, stream, router, &ours) => {}
            }
        }));
    }
    drop(listener);
    // All slots are free again once every connection has ended.
    drop(slots.acquire_many(permits).await);
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<Option<(TcpStream, OwnedSemaphorePermit)>> {
    let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
        return Ok(None);
    };
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => return Ok(Some((stream, slot))),
            // The client gave up between its handshake and now.
            Err(failed) if failed.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(failed) if is_for_good(&failed) => return Err(failed),
            Err(failed) => {
                error!(error = %failed, "no connection can be accepted now; trying again in a second");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Whether the listener itself is broken: EBADF, EINVAL, ENOTSOCK. Anything else that accept(2) lists is about one connection, or
/// passes.
fn is_for_good(failed: &std::io::Error) -> bool {
    matches!(failed.raw_os_error(), Some(9 | 22 | 88))
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, std::convert::Infallible>> + Send>>;

async fn connection(limits: Limits, stream: TcpStream, router: Router, shutdown: &Shutdown) {
    // Answers are small and final: there is nothing to gather.
    if let Err(failed) = stream.set_nodelay(true) {
        debug!(error = %failed, "TCP_NODELAY was refused");
    }
    let unread = Unread::default();
    let watch = unread.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| -> Answer {
        let request = request.map(|body| Body::new(watch.watch(body)));
        Box::pin(answer(router.clone(), request))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut asked_to_end = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            () = shutdown.draining(), if !asked_to_end => {
                asked_to_end = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(failed) = ended {
        debug!(error = %failed, "a connection ended early");
        return;
    }
    if unread.any() {
        linger(connection.into_parts().io.into_inner(), limits.linger).await;
    }
}

async fn answer(mut router: Router, request: Request) -> Result<Response, std::convert::Infallible> {
    // A router is always ready.
    match panics::catch(async { router.call(request).await }).await {
        Ok(answer) => answer,
        Err(panicked) => {
            error!(panic = %panicked.message, "a request handler panicked");
            Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

/// Closes our half, then reads on for a moment: closing a socket with unread bytes resets it, and a reset may overtake the answer.
async fn linger(mut stream: TcpStream, time: Duration) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut ignored = [0; 4096];
    let rest = async { while matches!(stream.read(&mut ignored).await, Ok(1..)) {} };
    if tokio::time::timeout(time, rest).await.is_err() {
        warn!("a client went on sending after it was answered; the connection is cut");
    }
}

#[cfg(test)]
mod tests;
