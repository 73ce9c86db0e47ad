//! The way to a collector: OTLP over HTTP, on a thread and a small runtime of its own.
//!
//! Guarantees: work never waits for a collector, for nothing of it runs on the threads of the work; each request is given up after its
//! signal's timeout; that a collector can't be reached is said once, and once more when it can.
//!
//! The exporters of the SDK call from threads of their own that know no runtime, at times when the process's own runtime is not there
//! yet or not any more. That is why there is one here.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError, ResponseBodyTooLarge};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::settings::Signal;

/// More than any answer of a collector: it has counts and a sentence.
const MAX_ANSWER: usize = 64 * 1024;

/// How often at most a collector that comes and goes is spoken of.
const SAID_EVERY: Duration = Duration::from_secs(600);

type Answer = Result<Response<Bytes>, HttpError>;

struct Job {
    request: Request<Bytes>,
    timeout: Duration,
    answer: oneshot::Sender<Answer>,
}

/// The thread, for all signals. It ends with the last client.
#[derive(Clone, Debug)]
pub(super) struct Sender(mpsc::UnboundedSender<Job>);

impl Sender {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || {
                // What is logged about sending is not sent.
                let _quiet = opentelemetry::Context::enter_telemetry_suppressed_scope();
                runtime.block_on(work(queue));
            })?;
        Ok(Self(jobs))
    }

    /// What an exporter sends with.
    pub(super) fn client(&self, signal: Signal, timeout: Duration) -> Collector {
        Collector {
            jobs: self.0.clone(),
            timeout,
            reached: Reached {
                signal,
                state: Mutex::default(),
            },
        }
    }
}

/// The collector of one signal.
pub(super) struct Collector {
    jobs: mpsc::UnboundedSender<Job>,
    timeout: Duration,
    reached: Reached,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("signal", &self.reached.signal)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl HttpClient for Collector {
    fn send_bytes<'c, 'r>(
        &'c self,
        mut request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'r>>
    where
        'c: 'r,
        Self: 'r,
    {
        // They may hold a key, and hyper's own log shows headers.
        for value in request.headers_mut().values_mut() {
            value.set_sensitive(true);
        }
        without_user(request.uri_mut());
        let uri = request.uri().clone();
        let (answer, answered) = oneshot::channel();
        let job = Job {
            request,
            timeout: self.timeout,
            answer,
        };
        Box::pin(async move {
            let answer = match self.jobs.send(job) {
                Ok(()) => answered.await.unwrap_or_else(|gone| Err(gone.into())),
                Err(gone) => Err(gone.to_string().into()),
            };
            self.reached.note(&uri, &answer);
            answer
        })
    }
}

/// Says once that a collector can't be reached.
struct Reached {
    signal: Signal,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// While it fails: whether that was said.
    failing: Option<bool>,
    said: Option<Instant>,
}

impl Reached {
    fn note(&self, uri: &Uri, answer: &Answer) {
        let failure = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(causes(error.as_ref())),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = self.signal;
        match failure {
            Some(reason) if state.failing.is_none() => {
                let say = state.said.is_none_or(|said| said.elapsed() >= SAID_EVERY);
                state.failing = Some(say);
                if say {
                    state.said = Some(Instant::now());
                    warn!(
                        %signal,
                        "the collector at {} does not take {signal}: {reason}; what the buffer can't hold is lost until it does, \
                         which is said once",
                        place(uri)
                    );
                }
            }
            Some(_) => {}
            None => {
                if state.failing.take() == Some(true) {
                    info!(%signal, "the collector at {} takes {signal} again", place(uri));
                }
            }
        }
    }
}

/// Takes the user and password out of an address: they would not be sent, but they would be logged by hyper.
fn without_user(uri: &mut Uri) {
    let mut parts = uri.clone().into_parts();
    let host = parts
        .authority
        .as_ref()
        .and_then(|authority| authority.as_str().rsplit_once('@')?.1.parse().ok());
    if host.is_some() {
        parts.authority = host;
        if let Ok(plain) = Uri::from_parts(parts) {
            *uri = plain;
        }
    }
}

/// The origin alone: whatever else is in the address may be a secret.
fn place(uri: &Uri) -> String {
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    format!(
        "{}://{}{port}",
        uri.scheme_str().unwrap_or("http"),
        uri.host().unwrap_or_default()
    )
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {} ms", .0.as_millis())]
struct TimedOut(Duration);

type Plain = Client<HttpConnector, Full<Bytes>>;
type Secure = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

async fn work(mut queue: mpsc::UnboundedReceiver<Job>) {
    let plain: Plain = client(HttpConnector::new());
    // The system's certificates are read only where there is a use for them.
    let mut secure: Option<Secure> = None;
    while let Some(job) = queue.recv().await {
        let request = job.request.map(Full::new);
        let sent = if request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) {
            let client = match &secure {
                Some(client) => client.clone(),
                None => match tls() {
                    Ok(client) => secure.insert(client).clone(),
                    Err(error) => {
                        // Who asked may have given up.
                        job.answer.send(Err(error.into())).ok();
                        continue;
                    }
                },
            };
            client.request(request)
        } else {
            plain.request(request)
        };
        tokio::spawn(async move {
            let answer = tokio::time::timeout(job.timeout, whole(sent)).await;
            let answer = answer.unwrap_or_else(|_late| Err(TimedOut(job.timeout).into()));
            job.answer.send(answer).ok();
        });
    }
}

async fn whole(sent: hyper_util::client::legacy::ResponseFuture) -> Answer {
    let (head, body) = sent.await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            ResponseBodyTooLarge::new().into()
        } else {
            error
        }
    })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn client<C>(connector: C) -> Client<C, Full<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector)
}

fn tls() -> std::io::Result<Secure> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
        .https_only()
        .enable_http1()
        .wrap_connector(http);
    Ok(client(https))
}
