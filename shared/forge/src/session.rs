//! Requests with credentials: what is tried again, what is followed, and what is not.
//!
//! Guarantees: a read that fails in passing is repeated on the schedule of [`crate::retry`]; a write is sent again only
//! after an answer that proves that it was not carried out (401 with a token that can be replaced, a redirect), each at most
//! a bounded number of times; nothing is sent while the credentials are limited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{StatusCode, Uri};
use lockflight_promotion::RepoId;
use secrecy::SecretString;
use serde::Serialize;
use tokio::time::Instant;

use crate::answer::{Answer, Complaint, shorten};
use crate::app::{App, Grant};
use crate::error::{Call, Cause, ForgeError};
use crate::limit::{Gate, text, wait};
use crate::measure;
use crate::retry::{Failure, Tries};
use crate::route::Route;
use crate::wire::{MAX_BODY, NoReply, Reply, Wire};

/// How many redirects are followed: one for a rename, and some to spare.
const MAX_REDIRECTS: usize = 3;

/// As whom a request is made.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// A token as it is.
    Token { secret: SecretString, gate: Arc<Gate> },
    /// The App itself.
    App(Arc<App>),
    /// The App on one repository.
    Grant(Arc<Grant>),
}

/// What goes into `Authorization`, and what belongs to it.
#[derive(Debug)]
pub(crate) struct Bearer {
    pub(crate) secret: SecretString,
    pub(crate) gate: Arc<Gate>,
    /// `token`, `app` or `installation 5`.
    pub(crate) whose: String,
    /// Which of the tokens in a row it is.
    pub(crate) serial: u64,
}

impl Credential {
    async fn bearer(&self) -> Result<Bearer, ForgeError> {
        match self {
            Self::Token { secret, gate } => Ok(Bearer {
                secret: secret.clone(),
                gate: Arc::clone(gate),
                whose: "token".to_owned(),
                serial: 0,
            }),
            Self::App(app) => app.bearer(),
            Self::Grant(grant) => grant.bearer().await,
        }
    }

    /// Forgets a token that was refused. Whether another can be had.
    async fn replace(&self, refused: &Bearer) -> bool {
        match self {
            Self::Token { .. } | Self::App(_) => false,
            Self::Grant(grant) => {
                grant.forget(refused.serial).await;
                true
            }
        }
    }
}

/// A way to GitHub with credentials, for one repository or none in particular.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) wire: Arc<Wire>,
    pub(crate) credential: Credential,
    /// The repository that redirects must stay in, by its id.
    pub(crate) repo: Option<RepoId>,
    /// Requests sent through this session and its clones.
    pub(crate) sent: Arc<AtomicU32>,
}

/// Why one try gave no answer.
enum Missed {
    Network(Cause),
    Server { status: StatusCode, message: String },
    Limited(Duration),
    Final(ForgeError),
}

impl Session {
    /// Reads `path`, a path and query below that of the REST API.
    pub(crate) async fn read(&self, route: &Route, path: &str) -> Result<Answer, ForgeError> {
        self.read_at(route, &self.rest(path), false).await
    }

    /// Like [`Self::read`], where an event told that the thing exists: a 404 right after the event is tried again.
    pub(crate) async fn read_new(&self, route: &Route, path: &str) -> Result<Answer, ForgeError> {
        self.read_at(route, &self.rest(path), true).await
    }

    /// Reads a path that GitHub itself gave, prefix included.
    pub(crate) async fn read_link(&self, route: &Route, path: &str) -> Result<Answer, ForgeError> {
        self.read_at(route, path, false).await
    }

    /// Sends a write, once.
    pub(crate) async fn write<B: Serialize + Sync>(
        &self,
        route: &Route,
        path: &str,
        body: &B,
    ) -> Result<Answer, ForgeError> {
        self.write_at(route, &self.rest(path), body).await
    }

    /// Sends a write to a path at the origin of the API, once.
    pub(crate) async fn write_at<B: Serialize + Sync>(
        &self,
        route: &Route,
        path: &str,
        body: &B,
    ) -> Result<Answer, ForgeError> {
        let call = self.call(route, path);
        let body = serde_json::to_string(body).map_err(|source| ForgeError::Unreadable {
            call: call.clone(),
            source,
        })?;
        match self.attempt(route, path, Some(&body)).await {
            Ok(answer) => Ok(answer),
            Err(Missed::Network(source)) => Err(ForgeError::Unknown {
                call,
                reason: "no answer came".to_owned(),
                source: Some(source),
            }),
            Err(Missed::Server { status, message }) => Err(ForgeError::Unknown {
                call,
                reason: format!("GitHub failed ({status}): {message}"),
                source: None,
            }),
            Err(Missed::Limited(wait)) => Err(ForgeError::RateLimited { call, wait }),
            Err(Missed::Final(error)) => Err(error),
        }
    }

    async fn read_at(&self, route: &Route, path: &str, is_new: bool) -> Result<Answer, ForgeError> {
        let mut tries = Tries::begin(&self.wire.schedule, Instant::now());
        loop {
            let (failure, missed) = match self.attempt(route, path, None).await {
                Ok(answer) if is_new && answer.status() == StatusCode::NOT_FOUND => {
                    (Failure::NotFoundYet, Missed::Final(answer.error()))
                }
                Ok(answer) => return Ok(answer),
                Err(Missed::Final(error)) => return Err(error),
                Err(Missed::Limited(wait)) => (Failure::Limited(wait), Missed::Limited(wait)),
                Err(missed) => (Failure::Passing, missed),
            };
            if let Some(wait) = tries.next(failure, Instant::now()) {
                tracing::debug!(
                    route = route.template,
                    wait_ms = wait.as_millis(),
                    ?failure,
                    "a read is tried again"
                );
                tokio::time::sleep(wait).await;
                continue;
            }
            let call = self.call(route, path);
            return Err(match missed {
                Missed::Network(source) => ForgeError::Unreachable { call, source },
                Missed::Server { status, message } => ForgeError::Unavailable {
                    call,
                    status,
                    message,
                },
                Missed::Limited(wait) => ForgeError::RateLimited { call, wait },
                Missed::Final(error) => error,
            });
        }
    }

    /// One try, with the replacement of a refused token and the redirects that belong to it.
    async fn attempt(&self, route: &Route, path: &str, body: Option<&str>) -> Result<Answer, Missed> {
        let mut path = path.to_owned();
        let mut redirects = 0;
        let mut replaced = false;
        loop {
            let bearer = self.credential.bearer().await.map_err(Missed::Final)?;
            if let Some(wait) = bearer.gate.closed_for(Instant::now()) {
                return Err(Missed::Limited(wait));
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
            let reply = match self.wire.exchange(route, &path, &bearer.secret, body).await {
                Ok(reply) => reply,
                Err(NoReply::Network(cause)) => return Err(Missed::Network(cause)),
                Err(NoReply::TooLarge) => {
                    let call = self.call(route, &path);
                    return Err(Missed::Final(ForgeError::TooLarge {
                        call,
                        limit: MAX_BODY,
                    }));
                }
            };
            self.wire.counters.note_limit(&bearer.whose, &reply.headers);
            let status = reply.status;
            tracing::debug!(
                method = route.verb.as_str(),
                route = route.template,
                status = status.as_u16(),
                as_ = bearer.whose,
                "asked GitHub"
            );

            if status.is_redirection() && redirects < MAX_REDIRECTS {
                if let Some(target) = self.redirect(route, &path, &reply).map_err(Missed::Final)? {
                    redirects += 1;
                    path = target;
                    continue;
                }
            } else if status == StatusCode::UNAUTHORIZED {
                if !replaced && self.credential.replace(&bearer).await {
                    replaced = true;
                    continue;
                }
                let message = Complaint::read(&reply.body).words(status);
                let call = self.call(route, &path);
                return Err(Missed::Final(ForgeError::Unauthorized { call, message }));
            } else if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
                let message = Complaint::read(&reply.body).words(status);
                return Err(Missed::Server { status, message });
            } else if status.is_client_error() {
                let complaint = Complaint::read(&reply.body);
                let words = complaint.words(status);
                if let Some(wait) = wait(status, &reply.headers, &words, complaint.documentation()) {
                    bearer.gate.close(Instant::now(), wait);
                    measure::limited(&reply.headers);
                    return Err(Missed::Limited(wait));
                }
            }
            let call = self.call(route, &path);
            return Ok(Answer { call, reply });
        }
    }

    /// Where a redirect leads: GitHub sends one for a renamed repository, and asks to repeat the request as it was
    /// (<https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects>).
    fn redirect(&self, route: &Route, path: &str, reply: &Reply) -> Result<Option<String>, ForgeError> {
        let Some(location) = text(&reply.headers, "location") else {
            return Ok(None);
        };
        let elsewhere = || ForgeError::Redirected {
            call: self.call(route, path),
            target: shorten(location),
        };
        let target: Uri = location.parse().map_err(|_unusable| elsewhere())?;
        let origin = &self.wire.addresses.origin;
        let is_ours = target.authority().is_none_or(|authority| {
            origin.authority() == Some(authority) && target.scheme() == origin.scheme()
        });
        let target = target.path_and_query().map(|target| target.as_str().to_owned());
        let Some(target) = target.filter(|target| is_ours && self.is_rest(target)) else {
            return Err(elsewhere());
        };
        if let Some(repo) = self.repo
            && !is_of_repository(self.without_prefix(&target), repo)
        {
            return Err(ForgeError::RedirectedElsewhere {
                call: self.call(route, path),
                target: shorten(location),
                repo,
            });
        }
        Ok(Some(target))
    }

    /// Whether `path` lies within the REST API.
    pub(crate) fn is_rest(&self, path: &str) -> bool {
        path.strip_prefix(self.wire.addresses.rest.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    }

    fn rest(&self, path: &str) -> String {
        format!("{}{path}", self.wire.addresses.rest)
    }

    fn without_prefix<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(self.wire.addresses.rest.as_str())
            .unwrap_or(path)
    }

    pub(crate) fn call(&self, route: &Route, path: &str) -> Box<Call> {
        Box::new(Call::new(route, self.without_prefix(path)))
    }
}

/// Whether `path` is `/repositories/123/...` of this repository: a name tells nothing, for it may have passed to another.
fn is_of_repository(path: &str, repo: RepoId) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let Some(rest) = path.strip_prefix("/repositories/") else {
        return false;
    };
    let mut segments = rest.split('/');
    // A server may take `..` for the way out.
    segments.next().is_some_and(|id| id == repo.to_string())
        && segments.all(|segment| !matches!(segment, "." | "..") && !segment.contains(['%', '\\']))
}
