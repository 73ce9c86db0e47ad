//! One call: look up, judge, connect to what was judged, ask, read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use lockflight_promotion::telemetry::attribute;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};
use url::Host;

use crate::address::{Address, InvalidAddress, Scheme};
use crate::answer::Answer;
use crate::config::OutboundConfig;
use crate::error::{OutboundError, SetupError};
use crate::host::bare;
use crate::resolve::{Resolve, System, places};
use crate::tls;

/// The head of an answer may not be longer than that, in bytes.
const MAX_HEAD: usize = 32 << 10;
/// An answer may not have more headers than that.
const MAX_HEADERS: usize = 64;

/// Calls addresses that a policy names, as far as the operator allows. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Outbound {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: OutboundConfig,
    tls: Option<Tls>,
    resolver: Box<dyn Resolve>,
}

struct Tls(TlsConnector);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Outbound {
    /// Prepares calls. Nothing is looked up or sent yet; the system's root certificates are read, which blocks for a moment, where a host
    /// is called over https.
    ///
    /// # Errors
    /// When the limits make no sense, or there are no certificates to trust.
    pub fn new(config: OutboundConfig) -> Result<Self, SetupError> {
        Self::with_resolver(config, System)
    }

    /// The same with another way to look up names. What it says is judged alike.
    ///
    /// # Errors
    /// As [`Outbound::new`].
    pub fn with_resolver(config: OutboundConfig, resolver: impl Resolve) -> Result<Self, SetupError> {
        config.check()?;
        let needs_tls = config.allowed_hosts.iter().any(|pattern| pattern.is_https());
        let tls = if needs_tls || !config.more_roots.is_empty() {
            Some(Tls(tls::connector(&config.more_roots)?))
        } else {
            None
        };
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                tls,
                resolver: Box::new(resolver),
            }),
        })
    }

    /// Whether the operator lists the host of an address. Its name is not looked up.
    ///
    /// # Errors
    /// [`OutboundError::NotAllowed`].
    pub fn allows(&self, address: &Address) -> Result<(), OutboundError> {
        self.inner.allows(address)
    }

    /// Asks an address for JSON.
    ///
    /// # Errors
    /// When it may not be called, or there is no whole answer in time.
    pub async fn get(&self, address: &Address) -> Result<Answer, OutboundError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        self.call(address, Method::GET, headers, Bytes::new()).await
    }

    /// Sends one request on a connection of its own. Headers about the connection (`Host`, `Connection`, `Accept-Encoding`, and
    /// `User-Agent` where there is none) are set here.
    ///
    /// # Errors
    /// When it may not be called, or there is no whole answer in time. An answer of any status is an answer.
    pub async fn call(
        &self,
        address: &Address,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, OutboundError> {
        let span = info_span!(
            "outbound",
            otel.name = method.as_str(),
            otel.kind = "client",
            otel.status_code = Empty,
            { attribute::HTTP_REQUEST_METHOD } = method.as_str(),
            { attribute::SERVER_ADDRESS } = address.authority(),
            { attribute::HTTP_RESPONSE_STATUS_CODE } = Empty,
            { attribute::ERROR_TYPE } = Empty,
        );
        let deadline = self.inner.config.deadline;
        let called = self
            .inner
            .call(address, method, headers, body, Instant::now() + deadline);
        let answer = tokio::time::timeout(deadline, called.instrument(span.clone()))
            .await
            .unwrap_or_else(|_late| {
                Err(OutboundError::Late {
                    to: address.to_string(),
                    deadline,
                })
            });
        record(&span, &answer);
        answer
    }
}

fn record(span: &Span, answer: &Result<Answer, OutboundError>) {
    match answer {
        Ok(answer) => {
            span.record(attribute::HTTP_RESPONSE_STATUS_CODE, answer.status.as_u16());
            if answer.status.is_client_error() || answer.status.is_server_error() {
                span.record(attribute::ERROR_TYPE, answer.status.as_str());
                span.record("otel.status_code", "error");
            }
        }
        Err(error) => {
            span.record(attribute::ERROR_TYPE, error.name());
            span.record("otel.status_code", "error");
        }
    }
}

impl Inner {
    fn allows(&self, address: &Address) -> Result<(), OutboundError> {
        let allowed = &self.config.allowed_hosts;
        if allowed.iter().any(|pattern| pattern.allows(address)) {
            return Ok(());
        }
        Err(OutboundError::NotAllowed {
            pattern: address.pattern(),
        })
    }

    async fn call(
        &self,
        address: &Address,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
        until: Instant,
    ) -> Result<Answer, OutboundError> {
        self.allows(address)?;
        let odd = || OutboundError::Address(InvalidAddress::UNUSABLE);
        let host = HeaderValue::from_str(&address.authority()).map_err(|_odd| odd())?;
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "lockflight/",
                env!("CARGO_PKG_VERSION")
            )));
        let path: http::Uri = address.path_and_query().parse().map_err(|_odd| odd())?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path;
        *request.headers_mut() = headers;

        let places = places(&*self.resolver, address, &self.config.allow_private).await?;
        let stream = connect(address, &places, until).await?;
        match address.scheme() {
            Scheme::Http => self.ask(address, TokioIo::new(stream), request).await,
            Scheme::Https => {
                let failed = |source| OutboundError::Tls {
                    to: address.to_string(),
                    source,
                };
                let Some(Tls(tls)) = &self.tls else {
                    return Err(failed(io::Error::other("TLS was not set up")));
                };
                let name = server_name(address).map_err(failed)?;
                let stream = tls.connect(name, stream).await.map_err(failed)?;
                self.ask(address, TokioIo::new(stream), request).await
            }
        }
    }

    /// Sends the request on a connection, and reads the answer to its end.
    async fn ask<S: Read + Write + Unpin>(
        &self,
        address: &Address,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, OutboundError> {
        let failed = |source| OutboundError::Http {
            to: address.to_string(),
            source,
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(stream)
            .await
            .map_err(failed)?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
            let limit = self.config.max_response_bytes;
            let body = Limited::new(body, limit).collect().await;
            let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => failed(*error),
                // Only the limit has an error of its own.
                Err(_limit) => OutboundError::TooLong {
                    to: address.to_string(),
                    status: head.status,
                    limit,
                },
            })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        // What goes wrong on the connection, the exchange hears of, too; and it may end before all was read out of it.
        let driven = async {
            drop(connection.await);
            std::future::pending().await
        };
        tokio::select! {
            answer = exchange => answer,
            answer = driven => answer,
        }
    }
}

/// Connects to the first that takes it. Each has its share of the time that is left, so that one that is silent leaves some for the others.
async fn connect(
    address: &Address,
    places: &[SocketAddr],
    until: Instant,
) -> Result<TcpStream, OutboundError> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (tried, place) in places.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let others = u32::try_from(places.len() - tried).unwrap_or(u32::MAX);
        let share: Duration = left / others.max(1);
        match tokio::time::timeout(share, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => {
                // It only costs some time where it fails.
                drop(stream.set_nodelay(true));
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_silent) => last = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(OutboundError::Connect {
        to: address.to_string(),
        source: last,
    })
}

/// The name that its certificate has to have.
fn server_name(address: &Address) -> io::Result<ServerName<'static>> {
    match address.host() {
        Host::Domain(name) => ServerName::try_from(bare(name).to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error)),
        Host::Ipv4(v4) => Ok(ServerName::from(std::net::IpAddr::V4(*v4))),
        Host::Ipv6(v6) => Ok(ServerName::from(std::net::IpAddr::V6(*v6))),
    }
}
