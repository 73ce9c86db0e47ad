//! One request and its answer over HTTP, as gitprotocol-http(5) has it.

use std::fmt::Write as _;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lockflight_promotion::telemetry::{attribute, span as names};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use super::outgoing::{Outgoing, Payload};
use crate::mirrors::{PlainHttp, Remote};
use crate::transport::{Protocol, basic, check_address, scrub};
use crate::transport_error::{TransportError, excerpt};

/// Who asks. Some servers tell clients of git from browsers by how this begins.
const AGENT: &str = concat!("git/lockflight-", env!("CARGO_PKG_VERSION"));

/// How much of a refusal's text is read.
const MOST_REFUSAL: usize = 4096;

/// How long to wait when a server that limits does not say.
const USUAL_WAIT: Duration = Duration::from_secs(60);

/// The longest wait that a server can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What there is too much of where an answer is too long.
pub(crate) const BYTES_IN_ONE_ANSWER: &str = "bytes in one answer";

/// The size of an answer's body, in bytes, in a span.
const ANSWER_SIZE: &str = "http.response.body.size";

/// What is asked of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// What can be asked about fetching.
    UploadOffer,
    /// To list or to fetch.
    Upload,
    /// What can be asked about pushing.
    ReceiveOffer,
    /// To push.
    Receive,
}

impl Service {
    /// What follows the address of the repository.
    const fn path(self) -> &'static str {
        match self {
            Self::UploadOffer => "/info/refs?service=git-upload-pack",
            Self::Upload => "/git-upload-pack",
            Self::ReceiveOffer => "/info/refs?service=git-receive-pack",
            Self::Receive => "/git-receive-pack",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::UploadOffer | Self::ReceiveOffer => Method::GET,
            Self::Upload | Self::Receive => Method::POST,
        }
    }

    const fn request_type(self) -> Option<&'static str> {
        match self {
            Self::UploadOffer | Self::ReceiveOffer => None,
            Self::Upload => Some("application/x-git-upload-pack-request"),
            Self::Receive => Some("application/x-git-receive-pack-request"),
        }
    }

    const fn answer_type(self) -> &'static str {
        match self {
            Self::UploadOffer => "application/x-git-upload-pack-advertisement",
            Self::Upload => "application/x-git-upload-pack-result",
            Self::ReceiveOffer => "application/x-git-receive-pack-advertisement",
            Self::Receive => "application/x-git-receive-pack-result",
        }
    }

    /// Whether asking twice is the same as asking once.
    const fn is_repeatable(self) -> bool {
        !matches!(self, Self::Receive)
    }
}

/// How long one operation may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) until: Instant,
    total: Duration,
    idle: Duration,
}

impl Deadline {
    pub(super) fn new(total: Duration, idle: Duration) -> Self {
        let now = Instant::now();
        Self {
            // Far enough away, where the sum has no room.
            until: now
                .checked_add(total)
                .unwrap_or(now + Duration::from_secs(86_400)),
            total,
            idle,
        }
    }

    /// Waits for `work`, which has to show a sign of life within the idle time.
    pub(super) async fn limit<F: Future>(&self, work: F) -> Result<F::Output, TransportError> {
        let idle = Instant::now() + self.idle;
        let (until, after) = if idle < self.until {
            (idle, self.idle)
        } else {
            (self.until, self.total)
        };
        tokio::time::timeout_at(until, work)
            .await
            .map_err(|_elapsed| TransportError::TimedOut { after })
    }

    /// As [`Self::limit`], for work that takes bytes: those that it took count as a sign of life.
    async fn limit_sending<F: Future>(
        &self,
        work: F,
        taken: &AtomicU64,
    ) -> Result<F::Output, TransportError> {
        let mut work = std::pin::pin!(work);
        loop {
            let before = taken.load(Ordering::Relaxed);
            match self.limit(work.as_mut()).await {
                Err(TransportError::TimedOut { .. })
                    if Instant::now() < self.until && taken.load(Ordering::Relaxed) > before => {}
                done => return done,
            }
        }
    }

    pub(super) const fn timed_out(&self) -> TransportError {
        TransportError::TimedOut { after: self.total }
    }
}

type Tls = Client<HttpsConnector<HttpConnector>, Payload>;

/// The connections to all servers.
#[derive(Debug)]
pub(super) struct Http {
    plain_http: PlainHttp,
    connect_timeout: Duration,
    plain: OnceLock<Client<HttpConnector, Payload>>,
    tls: OnceLock<io::Result<Tls>>,
}

impl Http {
    pub(super) const fn new(plain_http: PlainHttp, connect_timeout: Duration) -> Self {
        Self {
            plain_http,
            connect_timeout,
            plain: OnceLock::new(),
            tls: OnceLock::new(),
        }
    }

    /// Whether the remote is reached over HTTP at all.
    pub(super) fn reaches(&self, remote: &Remote) -> Result<bool, TransportError> {
        // Whether paths are allowed is for who reads them to say.
        Ok(check_address(&remote.url, self.plain_http, true)?.protocol != Protocol::File)
    }

    /// Sends one request, and waits for the head of an answer that is a success.
    pub(super) async fn ask<'a>(
        &self,
        remote: &'a Remote,
        service: Service,
        body: Outgoing,
        deadline: Deadline,
        most: u64,
    ) -> Result<Answer<'a>, TransportError> {
        let protocol = check_address(&remote.url, self.plain_http, false)?.protocol;
        let uri = address(&remote.url, service)?;
        let span = span(service, &uri, body.size());
        let (mut payload, again) = match body {
            Outgoing::Memory(bytes) => (Payload::memory(bytes.clone()), Some(bytes)),
            Outgoing::File { file, size } => (Payload::file(file, size), None),
        };
        let mut again = again.filter(|_| service.is_repeatable());
        let response = loop {
            let progress = payload.sent();
            let request = request(remote, service, &uri, payload)?;
            let sent = self.send(protocol, request)?.instrument(span.clone());
            match deadline.limit_sending(sent, &progress).await? {
                Ok(response) => break response,
                // The server closed a connection that had been open for a while, just when it was used again.
                Err(error) if !error.is_connect() && again.is_some() => {
                    payload = Payload::memory(again.take().unwrap_or_default());
                }
                Err(error) => {
                    return Err(TransportError::Network {
                        detail: excerpt(&said(remote, &chain(&error))),
                    });
                }
            }
        };
        let (head, body) = response.into_parts();
        span.record(attribute::HTTP_RESPONSE_STATUS_CODE, head.status.as_u16());
        let mut answer = Answer {
            remote,
            body,
            deadline,
            bytes: 0,
            most,
            span,
        };
        if head.status == StatusCode::OK {
            check_head(remote, &head.headers, service)?;
            return Ok(answer);
        }
        answer.span.record("otel.status_code", "error");
        let is_words = matches!(media_type(&head.headers), Some("text/plain" | "application/json"));
        let text = if is_words {
            answer.beginning().await
        } else {
            String::new()
        };
        let detail = excerpt(&said(remote, &format!("HTTP {}\n{text}", head.status)));
        Err(refusal(head.status, &head.headers, detail))
    }

    fn send(
        &self,
        protocol: Protocol,
        request: Request<Payload>,
    ) -> Result<
        impl Future<Output = Result<Response<Incoming>, hyper_util::client::legacy::Error>> + use<>,
        TransportError,
    > {
        if protocol == Protocol::Http {
            let client = self.plain.get_or_init(|| client(self.connector()));
            return Ok(client.request(request));
        }
        let client = self
            .tls
            .get_or_init(|| {
                let mut http = self.connector();
                http.enforce_http(false);
                let provider = rustls::crypto::aws_lc_rs::default_provider();
                let connector = HttpsConnectorBuilder::new()
                    .with_provider_and_native_roots(provider)?
                    .https_only()
                    .enable_http1()
                    .wrap_connector(http);
                Ok(client(connector))
            })
            .as_ref()
            .map_err(|error| TransportError::NoRootCertificates {
                detail: error.to_string(),
            })?;
        Ok(client.request(request))
    }

    fn connector(&self) -> HttpConnector {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(self.connect_timeout));
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(30)));
        http
    }
}

fn client<C: Connect + Clone>(connector: C) -> Client<C, Payload> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Less than servers keep one: not to be the last to know that a connection is gone saves pushes of unknown outcome.
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector)
}

fn address(url: &str, service: Service) -> Result<Uri, TransportError> {
    if url.contains(['?', '#']) {
        return Err(TransportError::Address("it has a query or a fragment"));
    }
    let address: Uri = format!("{}{}", url.trim_end_matches('/'), service.path())
        .parse()
        .map_err(|_invalid| TransportError::Address("it has characters that no address has"))?;
    // A port that is none would be taken for the usual one.
    let (host, authority) = (address.host(), address.authority());
    match (host, authority) {
        (Some(host), Some(authority)) if address.port().is_some() || authority.as_str() == host => {
            Ok(address)
        }
        _ => Err(TransportError::Address("its host or its port is none")),
    }
}

fn request(
    remote: &Remote,
    service: Service,
    uri: &Uri,
    body: Payload,
) -> Result<Request<Payload>, TransportError> {
    let mut request = Request::builder()
        .method(service.method())
        .uri(uri.clone())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, service.answer_type());
    if let Some(kind) = service.request_type() {
        request = request.header(CONTENT_TYPE, kind);
    }
    if matches!(service, Service::UploadOffer | Service::Upload) {
        request = request.header(HeaderName::from_static("git-protocol"), "version=2");
    }
    if let Some(credentials) = &remote.credentials {
        let mut authorization = HeaderValue::from_str(&format!("Basic {}", basic(credentials)))
            .map_err(|_invalid| TransportError::Address("its credentials fit in no header"))?;
        authorization.set_sensitive(true);
        request = request.header(AUTHORIZATION, authorization);
    }
    request
        .body(body)
        .map_err(|_invalid| TransportError::Address("no request can be made of it"))
}

/// The span of one request. The repository is in the spans around.
fn span(service: Service, uri: &Uri, body: u64) -> Span {
    let (method, template) = (service.method(), service.path());
    info_span!(
        "git",
        otel.name = names::github(method.as_str(), template),
        otel.kind = "client",
        otel.status_code = Empty,
        { attribute::HTTP_REQUEST_METHOD } = method.as_str(),
        { attribute::URL_TEMPLATE } = template,
        { attribute::SERVER_ADDRESS } = uri.host().unwrap_or_default(),
        { attribute::HTTP_REQUEST_BODY_SIZE } = body,
        { attribute::HTTP_RESPONSE_STATUS_CODE } = Empty,
        { ANSWER_SIZE } = Empty,
    )
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

/// Checks that the answer is git's, and not that of a proxy or a page.
fn check_head(remote: &Remote, headers: &HeaderMap, service: Service) -> Result<(), TransportError> {
    let kind = media_type(headers).unwrap_or_default();
    if !kind.eq_ignore_ascii_case(service.answer_type()) {
        return Err(TransportError::BadAnswer {
            detail: excerpt(&format!(
                "its content type is {:?} and not {}",
                said(remote, kind),
                service.answer_type()
            )),
        });
    }
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        Ok(())
    } else {
        Err(TransportError::BadAnswer {
            detail: "it is compressed, which was not asked for".to_owned(),
        })
    }
}

/// What an answer that is no success means.
fn refusal(status: StatusCode, headers: &HeaderMap, detail: String) -> TransportError {
    let wait = headers.get(RETRY_AFTER).map(|value| {
        let seconds = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        seconds.map_or(USUAL_WAIT, Duration::from_secs).min(LONGEST_WAIT)
    });
    match (status.as_u16(), wait) {
        (429, wait) => TransportError::RateLimited {
            after: wait.unwrap_or(USUAL_WAIT),
            detail,
        },
        (403 | 503, Some(after)) => TransportError::RateLimited { after, detail },
        // GitHub's secondary limit may come without a time.
        (403, None) if detail.to_ascii_lowercase().contains("rate limit") => TransportError::RateLimited {
            after: USUAL_WAIT,
            detail,
        },
        (401, _) => TransportError::AuthenticationFailed { detail },
        (403, _) => TransportError::Forbidden { detail },
        (404 | 410, _) => TransportError::NotFound { detail },
        (300..=399, _) => TransportError::Redirected { detail },
        (500.., _) => TransportError::Network { detail },
        _ => TransportError::BadAnswer { detail },
    }
}

/// What a server said, without the secrets.
pub(super) fn said(remote: &Remote, text: &str) -> String {
    scrub(text, remote.credentials.as_ref())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        write!(text, ": {cause}").unwrap_or_default();
        source = cause.source();
    }
    text
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) remote: &'a Remote,
    body: Incoming,
    pub(super) deadline: Deadline,
    /// What came so far.
    pub(super) bytes: u64,
    most: u64,
    span: Span,
}

impl Answer<'_> {
    /// What came next; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            let Some(frame) = self.deadline.limit(self.body.frame()).await? else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| TransportError::Network {
                detail: excerpt(&said(self.remote, &chain(&error))),
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.bytes = self.bytes.saturating_add(data.len() as u64);
            if self.bytes > self.most {
                return Err(TransportError::TooLarge {
                    what: BYTES_IN_ONE_ANSWER,
                    most: self.most,
                });
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }

    /// The first part of a text. What can't be read any more is left out: why it came is known by then.
    async fn beginning(&mut self) -> String {
        let mut text = Vec::new();
        while text.len() < MOST_REFUSAL
            && let Ok(Some(chunk)) = self.chunk().await
        {
            text.extend_from_slice(chunk.get(..MOST_REFUSAL).unwrap_or(&chunk));
        }
        text.truncate(MOST_REFUSAL);
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.span.record(ANSWER_SIZE, self.bytes);
    }
}
