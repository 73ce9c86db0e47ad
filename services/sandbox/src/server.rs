//! Connections: accepting them, and breaking them on purpose.
//!
//! Each connection carries a switch that a fault can press. The connection is then dropped with a reset, in the
//! middle of whatever it does, as a failing network would.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::forge::Inner;

/// Breaks the connection that a request came on.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionSwitch {
    broken: CancellationToken,
}

impl ConnectionSwitch {
    /// Breaks the connection. The caller is dropped with it and never goes on.
    pub(crate) async fn break_now(&self) -> Infallible {
        self.broken.cancel();
        std::future::pending().await
    }
}

/// Answers until the forge is shut down.
pub(crate) async fn serve(listener: TcpListener, inner: Arc<Inner>, tasks: TaskTracker) {
    let shutdown = inner.shutdown.clone();
    let router = crate::router(Arc::clone(&inner));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _from)) => {
                tasks.spawn(connection(stream, router.clone(), shutdown.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: let those that are open end first.
                tracing::warn!(%error, "the sandbox could not accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let broken = CancellationToken::new();
    let switch = ConnectionSwitch {
        broken: broken.clone(),
    };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(switch.clone());
        router.call(request)
    });
    // Nagle's algorithm would add delays to small answers; without it they are only larger on the wire.
    stream.set_nodelay(true).ok();
    let mut connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of the sandbox ended early");
            }
        }
        () = broken.cancelled() => {
            let stream = connection.into_parts().io.into_inner();
            // Closing with nothing to linger for sends a reset in place of a regular end.
            stream.set_zero_linger().ok();
        }
        () = shutdown.cancelled() => {}
    }
}

/// Refuses requests under any name but this machine's, so that no web site can reach the forge through a name of
/// its own that points here.
pub(crate) async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.parse::<http::uri::Authority>().map(|authority| {
        let name = authority.host().trim_matches(['[', ']']).to_owned();
        name.eq_ignore_ascii_case("localhost")
            || name
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    });
    if name.unwrap_or(false) {
        next.run(request).await
    } else {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "The sandbox answers as 127.0.0.1 and localhost only.\n",
        )
            .into_response()
    }
}
