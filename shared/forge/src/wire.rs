//! One request, one answer: the only place that touches the network.
//!
//! octocrab's own client is not used as it comes: it would repeat a POST after a 5xx, follow a redirect with another
//! method, name itself twice in `User-Agent`, and need the system's certificates even for a loopback address. Its
//! layers and its signing are.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lockflight_promotion::telemetry::{attribute, span as names};
use octocrab::service::middleware::base_uri::BaseUriLayer;
use octocrab::service::middleware::extra_headers::ExtraHeadersLayer;
use octocrab::{AuthState, OctoBody, Octocrab, OctocrabBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::address::Addresses;
use crate::calls::Counters;
use crate::config::ForgeConfig;
use crate::error::Cause;
use crate::measure;
use crate::retry::Schedule;
use crate::route::Route;
use crate::{ForgeError, init_tls};

/// More than any answer that is asked for: a page of 100 files with their patches stays well below.
pub(crate) const MAX_BODY: usize = 10 * 1024 * 1024;

/// Locks for a moment, whatever happened to who held it before: no critical section here can leave half a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way to one GitHub.
#[derive(Debug)]
pub(crate) struct Wire {
    octocrab: Octocrab,
    pub(crate) addresses: Addresses,
    pub(crate) counters: Counters,
    pub(crate) schedule: Schedule,
    timeout: Duration,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug)]
pub(crate) enum NoReply {
    /// The network failed or the time was over.
    Network(Cause),
    /// More than [`MAX_BODY`].
    TooLarge,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {} ms", .0.as_millis())]
struct TimedOut(Duration);

impl Wire {
    pub(crate) fn new(config: &ForgeConfig) -> Result<Self, ForgeError> {
        let addresses = Addresses::derive(&config.api_url, config.web_url.as_deref())?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ForgeError::config("it has to be made inside a tokio runtime"));
        }
        let user_agent = HeaderValue::from_str(&config.user_agent)
            .ok()
            .filter(|agent| !agent.is_empty())
            .ok_or_else(|| ForgeError::config("the user agent must be visible ASCII text"))?;

        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(config.connect_timeout));
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(30)));
        let octocrab = if addresses.is_plain() {
            octocrab_over(http, &addresses, user_agent)
        } else {
            init_tls();
            http.enforce_http(false);
            let https = hyper_rustls::HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
                .map_err(|source| ForgeError::Tls { source })?
                .https_only()
                .enable_http1()
                .wrap_connector(http);
            octocrab_over(https, &addresses, user_agent)
        };
        Ok(Self {
            octocrab,
            addresses,
            counters: Counters::default(),
            schedule: config.schedule.clone(),
            timeout: config.request_timeout,
        })
    }

    /// Sends one request. `path` is a path and query at the origin of the API, prefix included.
    pub(crate) async fn exchange(
        &self,
        route: &Route,
        path: &str,
        bearer: &SecretString,
        body: Option<&str>,
    ) -> Result<Reply, NoReply> {
        let span = self.span(route);
        let began = Instant::now();
        let sent = self.send(route, path, bearer, body).instrument(span.clone());
        let reply = match tokio::time::timeout(self.timeout, sent).await {
            Ok(reply) => reply,
            Err(_elapsed) => Err(NoReply::Network(Box::new(TimedOut(self.timeout)))),
        };
        let status = reply.as_ref().ok().map(|reply| reply.status);
        measure::requested(route, status, began.elapsed());
        self.counters.count(route, status);
        match status {
            Some(status) => {
                span.record(attribute::HTTP_RESPONSE_STATUS_CODE, status.as_u16());
                // As the conventions for HTTP have it: for who asks, a refusal is an error.
                if status.is_client_error() || status.is_server_error() {
                    span.record(attribute::ERROR_TYPE, status.as_str());
                    span.record("otel.status_code", "error");
                }
            }
            None => {
                span.record(attribute::ERROR_TYPE, "network");
                span.record("otel.status_code", "error");
            }
        }
        reply
    }

    /// The span of one request. The path is not in it: it has names and numbers, which are in the spans around.
    fn span(&self, route: &Route) -> Span {
        let origin = &self.addresses.origin;
        info_span!(
            "github",
            otel.name = names::github(route.verb.as_str(), route.template),
            otel.kind = "client",
            otel.status_code = Empty,
            { attribute::HTTP_REQUEST_METHOD } = route.verb.as_str(),
            { attribute::URL_TEMPLATE } = route.template,
            { attribute::SERVER_ADDRESS } = origin.host().unwrap_or_default(),
            { attribute::HTTP_RESPONSE_STATUS_CODE } = Empty,
            { attribute::ERROR_TYPE } = Empty,
        )
    }

    async fn send(
        &self,
        route: &Route,
        path: &str,
        bearer: &SecretString,
        body: Option<&str>,
    ) -> Result<Reply, NoReply> {
        let network = |error: octocrab::Error| NoReply::Network(Box::new(error));
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", bearer.expose_secret()))
            .map_err(|error| NoReply::Network(Box::new(error)))?;
        authorization.set_sensitive(true);
        let mut request = Request::builder()
            .method(route.verb.method())
            .uri(path)
            .header(AUTHORIZATION, authorization)
            .header(ACCEPT, "application/vnd.github+json")
            .header(HeaderName::from_static("x-github-api-version"), "2022-11-28");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(OctoBody::empty, |body| body.to_owned().into());
        let request = request
            .body(body)
            .map_err(|error| NoReply::Network(Box::new(error)))?;

        let (parts, body) = self.octocrab.send(request).await.map_err(network)?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                NoReply::TooLarge
            } else {
                NoReply::Network(error)
            }
        })?;
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }
}

fn octocrab_over<C>(connector: C, addresses: &Addresses, user_agent: HeaderValue) -> Octocrab
where
    C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // GitHub closes an idle connection after about a minute; not to be the last to know saves ambiguous writes.
        .pool_idle_timeout(Duration::from_secs(20))
        .build::<_, OctoBody>(connector);
    let built: Result<Octocrab, Infallible> = OctocrabBuilder::new_empty()
        .with_service(client)
        .with_layer(&ExtraHeadersLayer::new(Arc::new(vec![(USER_AGENT, user_agent)])))
        .with_layer(&BaseUriLayer::new(addresses.origin.clone()))
        .with_auth(AuthState::None)
        .build();
    match built {
        Ok(octocrab) => octocrab,
        Err(never) => match never {},
    }
}
