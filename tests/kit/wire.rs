//! One HTTP request over one connection.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A body that may stream.
pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// Headers that belong to one connection, not to the message (RFC 9110, 7.6.1), and `Expect`, which the proxy's own
/// server has answered.
const NOT_FORWARDED: [HeaderName; 6] = [
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Sends one request over its own connection. The bodies stream in both directions.
///
/// An error means that the other side gave no answer.
pub(crate) async fn send(upstream: SocketAddr, mut request: Request<Body>) -> io::Result<Response<Body>> {
    strip(request.headers_mut());
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends with the answer, or when the client hangs up and the answer's body is dropped.
    drop(tokio::spawn(connection));
    let mut response = sender.send_request(request).await.map_err(io::Error::other)?;
    strip(response.headers_mut());
    Ok(response.map(BodyExt::boxed))
}

fn strip(headers: &mut HeaderMap) {
    for name in &NOT_FORWARDED {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// Returns a body that is there already.
pub(crate) fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed()
}
