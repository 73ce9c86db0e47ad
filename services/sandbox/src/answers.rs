//! Answers that REST and git share: refusals in GitHub's JSON, and what faults answer.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::faults::{Acting, Effect};
use crate::server::ConnectionSwitch;

const DOCUMENTATION: &str = "https://docs.github.com/rest";

/// Answers with JSON.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
}

/// Answers with GitHub's JSON for a refusal.
pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    json(
        status,
        &json!({
            "message": message,
            "documentation_url": DOCUMENTATION,
            "status": status.as_u16().to_string(),
        }),
    )
}

impl IntoResponse for ForgeError {
    fn into_response(self) -> Response {
        let unprocessable = |message: &str, errors: Value| {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let body = json!({
                "message": message,
                "errors": errors,
                "documentation_url": DOCUMENTATION,
                "status": "422",
            });
            json(status, &body)
        };
        match self {
            Self::Unauthorized(message) => refusal(StatusCode::UNAUTHORIZED, &message),
            Self::Forbidden(message) => refusal(StatusCode::FORBIDDEN, &message),
            Self::NotFound(message) => refusal(StatusCode::NOT_FOUND, &message),
            Self::NotMergeable(message) => refusal(StatusCode::METHOD_NOT_ALLOWED, &message),
            Self::Conflict(message) => refusal(StatusCode::CONFLICT, &message),
            Self::BadRequest(message) => refusal(StatusCode::BAD_REQUEST, &message),
            Self::Validation(errors) => unprocessable("Validation Failed", json!(errors)),
            Self::Sentences { message, errors } => unprocessable(&message, json!(errors)),
            Self::Unprocessable(message) => refusal(StatusCode::UNPROCESSABLE_ENTITY, &message),
            error @ (Self::NotLoopback(_) | Self::WebhookNotLoopback(_)) => {
                refusal(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
            }
            error @ (Self::Git(_) | Self::Io { .. } | Self::Crypto(_)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the sandbox failed to answer"
                );
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "Server Error")
            }
        }
    }
}

/// Answers with a status that a fault asks for. GitHub's front answers some of them with a page, not with JSON.
fn status(code: u16) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if matches!(code, 502..=504) {
        let page = "<!DOCTYPE html>\n<html><head><title>Unicorn!</title></head><body>\
            <p>We had issues producing the response to your request.</p></body></html>\n";
        return (
            status,
            [(header::CONTENT_TYPE, HeaderValue::from_static("text/html"))],
            page,
        )
            .into_response();
    }
    refusal(status, status.canonical_reason().unwrap_or("Error"))
}

/// Gives the answer of a fault that lets nothing be done, or breaks the connection.
pub(crate) async fn before_effect(acting: &Acting, switch: Option<&ConnectionSwitch>) -> Option<Response> {
    const SECONDARY: &str = "You have exceeded a secondary rate limit. Please wait a few minutes before you try \
         again. If you reach out to GitHub Support for help, please include the request ID.";
    let header = |name: &'static str, value: String| {
        HeaderValue::try_from(value)
            .ok()
            .map(|value| (HeaderName::from_static(name), value))
    };
    match &acting.effect {
        Effect::Status(code) => Some(status(*code)),
        Effect::Refuse { status, message } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Some(refusal(status, message))
        }
        Effect::ResetBefore => {
            break_connection(switch).await;
            None
        }
        Effect::RateLimitPrimary { reset_in } => {
            let mut answer = refusal(
                StatusCode::FORBIDDEN,
                "API rate limit exceeded for installation. If you reach out to GitHub Support for help, please \
                 include the request ID.",
            );
            let reset = Timestamp::now().after(*reset_in).unix();
            let headers = [
                header("x-ratelimit-remaining", "0".into()),
                header("x-ratelimit-reset", reset.to_string()),
                header("x-ratelimit-used", "5000".into()),
                header("x-ratelimit-limit", "5000".into()),
            ];
            answer.headers_mut().extend(headers.into_iter().flatten());
            Some(answer)
        }
        Effect::SecondaryWithRetryAfter(wait) => {
            let mut answer = refusal(StatusCode::FORBIDDEN, SECONDARY);
            answer
                .headers_mut()
                .extend(header("retry-after", wait.as_secs().to_string()));
            Some(answer)
        }
        Effect::SecondaryWithoutHeaders => Some(refusal(StatusCode::FORBIDDEN, SECONDARY)),
        Effect::Hold(_) | Effect::ResetAfterEffect | Effect::StatusAfterEffect(_) => None,
    }
}

/// Replaces the answer where a fault spoils it after everything is done, or breaks the connection.
pub(crate) async fn after_effect(
    acting: &Acting,
    switch: Option<&ConnectionSwitch>,
    answer: Response,
) -> Response {
    match &acting.effect {
        Effect::ResetAfterEffect => {
            break_connection(switch).await;
            answer
        }
        Effect::StatusAfterEffect(code) => status(*code),
        _ => answer,
    }
}

async fn break_connection(switch: Option<&ConnectionSwitch>) {
    if let Some(switch) = switch {
        switch.break_now().await;
    }
}

/// Begins an answer to git and breaks off in the middle of it.
///
/// A reset without any answer would not do: the HTTP library under git takes it for a connection that had grown old,
/// and silently asks again on a new one.
pub(crate) fn cut_off(kind: &str) -> Response {
    let begin = futures::stream::once(async { Ok(bytes::Bytes::from_static(b"0")) });
    let end = futures::stream::once(async {
        // What was written so far goes out while we are away.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut off on purpose"))
    });
    let mut answer = Response::new(Body::from_stream(begin.chain(end)));
    if let Ok(kind) = HeaderValue::try_from(kind) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    answer
}
