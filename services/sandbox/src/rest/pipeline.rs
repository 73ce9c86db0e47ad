//! What every call goes through: the body is read, a fault may act, the caller is identified, the answer gets
//! GitHub's headers, and the call is written down, also where the connection was broken on purpose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::call::FullPath;
use crate::auth::{Actor, authenticate};
use crate::clock::Timestamp;
use crate::faults::{Asked, AskedWhat, Effect, HoldPoint};
use crate::forge::Inner;
use crate::server::ConnectionSwitch;
use crate::usage::RecordedRequest;
use crate::{answers, ids};

/// The largest body, as for a blob.
const LARGEST_BODY: usize = 100 * 1024 * 1024;

/// The route of a call, below the repository, where one handler serves several: refs contain slashes, so that
/// `/commits/{ref}/status` cannot be told from `/commits/{ref}` by the router.
#[derive(Debug, Clone, Copy)]
pub(super) struct RouteName(pub(super) &'static str);

/// Names the repository in a path such as `/repos/acme/gitops/pulls`.
fn repository_in(path: &str) -> Option<String> {
    let mut segments = path.trim_start_matches('/').split('/');
    (segments.next()? == "repos").then_some(())?;
    Some(format!("{}/{}", segments.next()?, segments.next()?))
}

pub(super) async fn pass(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let route = parts
        .extensions
        .get::<MatchedPath>()
        .map_or("(unknown)", MatchedPath::as_str);
    let route = route
        .strip_prefix("/api/v3")
        .or_else(|| route.strip_prefix("/api"))
        .unwrap_or(route);
    // A path that no route takes is matched by a wildcard of the router's own.
    let known = !route.contains("__private");
    let route = if known {
        route.trim_end_matches('/').replace("{*", "{")
    } else {
        "(unknown)".to_owned()
    };
    let path = parts.uri.path().to_owned();
    let repository = repository_in(&path).map(|name| {
        let state = inner.state();
        state
            .repository(&name)
            .map(|found| found.full_name())
            .unwrap_or(name)
    });
    let asked = Asked {
        repository: repository.as_deref(),
        what: AskedWhat::Rest {
            method: &parts.method,
            path: &path,
        },
    };
    let acting = inner.faults.take(&asked);
    let switch = parts.extensions.get::<ConnectionSwitch>().cloned();
    let mut record = RecordedRequest {
        method: parts.method.clone(),
        route,
        path: parts.uri.to_string(),
        repository,
        status: None,
        actor: "anonymous".into(),
        at: Timestamp::now(),
        began: Instant::now(),
        took: Duration::ZERO,
        bytes_in: 0,
        bytes_out: 0,
    };
    let body = axum::body::to_bytes(body, LARGEST_BODY).await;
    record.bytes_in = body.as_ref().map_or(0, |body| body.len() as u64);

    if let Some(acting) = &acting {
        if acting.effect == Effect::ResetBefore {
            inner.recorder.rest(record.clone());
        }
        acting.wait_at(HoldPoint::BeforeEffect).await;
        if let Some(answer) = answers::before_effect(acting, switch.as_ref()).await {
            return finish(&inner, record, &parts.headers, answer).await;
        }
    }
    let identified = authenticate(&inner.state(), &parts.headers);
    let actor = match identified {
        Ok(actor) => actor,
        Err(error) => return finish(&inner, record, &parts.headers, error.into_response()).await,
    };
    record.actor = identity(&inner, &actor);
    let Ok(body) = body else {
        let answer = answers::refusal(StatusCode::PAYLOAD_TOO_LARGE, "Payload too big");
        return finish(&inner, record, &parts.headers, answer).await;
    };
    parts.extensions.insert(actor);
    parts.extensions.insert(FullPath(parts.uri.clone()));
    let headers = parts.headers.clone();
    let request = Request::from_parts(parts, Body::from(body));
    // What has begun is brought to its end, even where the caller dies or hangs up meanwhile.
    let work = tokio::spawn(async move { next.run(request).await });
    let answer = work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a handler of the sandbox panicked");
        answers::refusal(StatusCode::INTERNAL_SERVER_ERROR, "Server Error")
    });
    if let Some(RouteName(name)) = answer.extensions().get::<RouteName>() {
        record.route = format!("/repos/{{owner}}/{{repo}}{name}");
    }
    let answer = match &acting {
        Some(acting) => {
            acting.wait_at(HoldPoint::AfterEffect).await;
            if acting.effect == Effect::ResetAfterEffect {
                inner.recorder.rest(record.clone());
            }
            answers::after_effect(acting, switch.as_ref(), answer).await
        }
        None => answer,
    };
    finish(&inner, record, &headers, answer).await
}

fn identity(inner: &Inner, actor: &Actor) -> String {
    match actor {
        Actor::App(app) => inner
            .state()
            .apps
            .get(app)
            .map(|app| app.slug.clone())
            .unwrap_or_default(),
        other => other.login().to_owned(),
    }
}

/// Adds GitHub's headers, answers "not modified" where it can, and writes the call down.
async fn finish(
    inner: &Inner,
    mut record: RecordedRequest,
    request_headers: &HeaderMap,
    answer: Response,
) -> Response {
    let (mut parts, body) = answer.into_parts();
    // The bodies of our own answers are in memory already.
    let mut body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut counted = 1;
    if record.method == Method::GET && parts.status == StatusCode::OK {
        let digest = digest::digest(&digest::SHA256, &body);
        let tag = format!("W/\"{}\"", ids::hex(digest.as_ref()));
        let known = request_headers
            .get(header::IF_NONE_MATCH)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
        if known {
            parts.status = StatusCode::NOT_MODIFIED;
            body = Bytes::new();
            // An answer that says "as before" does not count against the limit.
            counted = 0;
        }
        if let Ok(tag) = HeaderValue::try_from(tag) {
            parts.headers.insert(header::ETAG, tag);
        }
    }
    inner.rates.count(&record.actor, counted).tell(&mut parts.headers);
    parts.headers.insert(
        "x-github-media-type",
        HeaderValue::from_static("github.v3; format=json"),
    );
    parts
        .headers
        .insert("x-github-enterprise-version", HeaderValue::from_static("3.19.0"));
    if let Ok(id) = ids::guid().map(|guid| guid.to_uppercase().replace('-', ":"))
        && let Ok(id) = HeaderValue::try_from(id)
    {
        parts.headers.insert("x-github-request-id", id);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    record.status = Some(parts.status.as_u16());
    record.bytes_out = body.len() as u64;
    inner.recorder.rest(record);
    Response::from_parts(parts, Body::from(body))
}
