//! Git over HTTP: what GitHub adds around `git http-backend`, which does the rest.
//!
//! A push is carried out to its end even where the client dies in the middle: if all of it has arrived, it lands, as
//! it does on GitHub. A fetch is streamed and ends with its client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::answers;
use crate::auth::{Actor, Need, authenticate, authorize};
use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::faults::{Acting, Asked, AskedWhat, Effect, GitService, HoldPoint};
use crate::forge::Inner;
use crate::git::http_backend::{CgiRequest, Traffic};
use crate::operations::refs;
use crate::server::ConnectionSwitch;
use crate::state::RepoRef;
use crate::usage::RecordedRequest;

/// Builds the routes of git's smart protocol.
pub(crate) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/{owner}/{repo}/info/refs", get(advertise))
        .route("/{owner}/{repo}/git-upload-pack", post(upload))
        .route("/{owner}/{repo}/git-receive-pack", post(receive))
}

type RepoPath = Path<(String, String)>;

async fn advertise(
    State(inner): State<Arc<Inner>>,
    Path((owner, name)): RepoPath,
    request: Request,
) -> Response {
    let service = match request.uri().query() {
        Some("service=git-upload-pack") => GitService::UploadPack,
        Some("service=git-receive-pack") => GitService::ReceivePack,
        _ => return text(StatusCode::FORBIDDEN, "Please upgrade your git client."),
    };
    serve(inner, &owner, &name, service, true, request).await
}

async fn upload(
    State(inner): State<Arc<Inner>>,
    Path((owner, name)): RepoPath,
    request: Request,
) -> Response {
    serve(inner, &owner, &name, GitService::UploadPack, false, request).await
}

async fn receive(
    State(inner): State<Arc<Inner>>,
    Path((owner, name)): RepoPath,
    request: Request,
) -> Response {
    serve(inner, &owner, &name, GitService::ReceivePack, false, request).await
}

fn media_type(service: GitService, advertisement: bool) -> String {
    let name = service.as_str().replace(' ', "-");
    format!(
        "application/x-{name}-{}",
        if advertisement { "advertisement" } else { "result" }
    )
}

/// Answers in plain text: git shows it to the person as `remote: ...`.
fn text(status: StatusCode, message: &str) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], format!("{message}\n")).into_response()
}

fn who_are_you(message: &str) -> Response {
    let mut answer = text(StatusCode::UNAUTHORIZED, message);
    answer.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"GitHub\""),
    );
    answer
}

/// Identifies the client, and finds the repository if it may do this there.
fn admit(
    inner: &Inner,
    headers: &HeaderMap,
    full_name: &str,
    service: GitService,
) -> Result<(Actor, RepoRef), Box<Response>> {
    let state = inner.state();
    let actor = match authenticate(&state, headers) {
        Ok(Actor::Anonymous) => return Err(Box::new(who_are_you("No anonymous access."))),
        // A JWT is no password for git.
        Ok(Actor::App(_)) | Err(_) => {
            return Err(Box::new(who_are_you(
                "Invalid username or token. Password authentication is not supported for Git operations.",
            )));
        }
        Ok(actor) => actor,
    };
    let not_found = || Box::new(text(StatusCode::NOT_FOUND, "Repository not found."));
    let repository = state.repository(full_name).map_err(|_unknown| not_found())?;
    let need = match service {
        GitService::ReceivePack => Need::WRITE_CONTENTS,
        GitService::UploadPack => Need::READ_CONTENTS,
    };
    match authorize(&actor, repository, need) {
        Ok(()) => {}
        Err(ForgeError::NotFound(_)) => return Err(not_found()),
        Err(_) => {
            let name = repository.full_name();
            let message = format!("Permission to {name}.git denied to {}.", actor.login());
            return Err(Box::new(text(StatusCode::FORBIDDEN, &message)));
        }
    }
    let repo = state.repo_ref(full_name).map_err(|_unknown| not_found())?;
    Ok((actor, repo))
}

async fn serve(
    inner: Arc<Inner>,
    owner: &str,
    name: &str,
    service: GitService,
    advertisement: bool,
    request: Request,
) -> Response {
    let full_name = format!("{owner}/{}", name.strip_suffix(".git").unwrap_or(name));
    let (parts, body) = request.into_parts();
    let known = inner.state().repo_ref(&full_name).map(|repo| repo.full_name).ok();
    let what = AskedWhat::Git {
        command: service,
        advertisement,
    };
    let acting = inner.faults.take(&Asked {
        repository: Some(&full_name),
        what,
    });
    let switch = parts.extensions.get::<ConnectionSwitch>().cloned();
    let route = if advertisement {
        format!("{} info/refs", service.as_str())
    } else {
        service.as_str().into()
    };
    let mut entry = Entry {
        inner: Arc::clone(&inner),
        traffic: Traffic::default(),
        transfer: (!advertisement).then_some(service),
        record: RecordedRequest {
            method: parts.method.clone(),
            route,
            path: parts.uri.to_string(),
            repository: known,
            status: None,
            actor: "anonymous".into(),
            at: Timestamp::now(),
            began: Instant::now(),
            took: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
        },
    };
    if let Some(acting) = &acting {
        if acting.effect == Effect::ResetBefore {
            return answers::cut_off(&media_type(service, advertisement));
        }
        acting.wait_at(HoldPoint::BeforeEffect).await;
        if let Some(answer) = answers::before_effect(acting, switch.as_ref()).await {
            entry.record.status = Some(answer.status().as_u16());
            return answer;
        }
    }
    let (actor, repo) = match admit(&inner, &parts.headers, &full_name, service) {
        Ok(admitted) => admitted,
        Err(answer) => {
            entry.record.status = Some(answer.status().as_u16());
            return *answer;
        }
    };
    entry.record.actor = actor.login().to_owned();
    let exchange = Exchange {
        parts,
        body,
        actor,
        repo,
        service,
        advertisement,
    };
    exchange.run(entry, acting, switch).await
}

/// Writes the request down when everything about it has ended, however it ended.
struct Entry {
    inner: Arc<Inner>,
    traffic: Traffic,
    transfer: Option<GitService>,
    record: RecordedRequest,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut record = self.record.clone();
        record.bytes_in = self.traffic.received();
        record.bytes_out = self.traffic.sent();
        self.inner
            .recorder
            .git(record, self.transfer, self.traffic.looks());
    }
}

/// A request that was let in.
struct Exchange {
    parts: http::request::Parts,
    body: Body,
    actor: Actor,
    repo: RepoRef,
    service: GitService,
    advertisement: bool,
}

impl Exchange {
    async fn run(
        self,
        mut entry: Entry,
        acting: Option<Acting>,
        switch: Option<ConnectionSwitch>,
    ) -> Response {
        let push = self.service == GitService::ReceivePack && !self.advertisement;
        if !push && acting.is_none() {
            return self.stream(entry).await;
        }
        let (inner, traffic) = (Arc::clone(&entry.inner), entry.traffic.clone());
        let media = media_type(self.service, self.advertisement);
        let work = tokio::spawn(async move { self.finish(&inner, traffic).await });
        let answer = match work.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => error.into_response(),
            Err(error) => {
                tracing::error!(%error, "git over HTTP panicked in the sandbox");
                text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            }
        };
        let Some(acting) = acting else {
            entry.record.status = Some(answer.status().as_u16());
            return answer;
        };
        acting.wait_at(HoldPoint::AfterEffect).await;
        if acting.effect == Effect::ResetAfterEffect {
            return answers::cut_off(&media);
        }
        let answer = answers::after_effect(&acting, switch.as_ref(), answer).await;
        entry.record.status = Some(answer.status().as_u16());
        answer
    }

    fn cgi(&self) -> CgiRequest<'_> {
        let service_path = match (self.advertisement, self.service) {
            (true, _) => "info/refs",
            (false, GitService::UploadPack) => "git-upload-pack",
            (false, GitService::ReceivePack) => "git-receive-pack",
        };
        CgiRequest {
            method: self.parts.method.as_str(),
            service_path,
            query: self.parts.uri.query().unwrap_or_default(),
            headers: &self.parts.headers,
            user: self.actor.login(),
        }
    }

    /// Does everything, and notices what has moved before the client learns that it has.
    async fn finish(mut self, inner: &Arc<Inner>, traffic: Traffic) -> Result<Response, ForgeError> {
        let body = std::mem::take(&mut self.body);
        let answer = inner
            .git
            .http_backend(&self.repo.dir, &self.cgi(), body, traffic)
            .await?;
        let (status, headers, body) = answer.collect().await?;
        if self.service == GitService::ReceivePack && !self.advertisement {
            let _lane = self.repo.lane.lock().await;
            refs::notice(inner, &self.repo, &self.actor).await?;
        }
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }

    async fn stream(mut self, mut entry: Entry) -> Response {
        let body = std::mem::take(&mut self.body);
        let traffic = entry.traffic.clone();
        let begun = entry
            .inner
            .git
            .http_backend(&self.repo.dir, &self.cgi(), body, traffic)
            .await;
        match begun {
            Ok(answer) => {
                let (status, headers, stream) = answer.stream();
                entry.record.status = Some(status.as_u16());
                // The entry lives as long as the stream, so that it knows all of the bytes.
                let stream = stream.map(move |piece| {
                    let _until_the_end = &entry;
                    piece
                });
                let mut answer = Response::new(Body::from_stream(stream));
                *answer.status_mut() = status;
                *answer.headers_mut() = headers;
                answer
            }
            Err(error) => {
                let answer = ForgeError::from(error).into_response();
                entry.record.status = Some(answer.status().as_u16());
                answer
            }
        }
    }
}
