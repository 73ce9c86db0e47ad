//! The web pages: plain HTML from the server, no script, readable on a phone and in the dark.
//!
//! Whoever can open them acts as the viewer. Only this machine can; a page of another site cannot press their
//! buttons, because every form carries a token that it does not know.

mod deliveries;
mod files;
mod layout;
mod markdown;
mod pulls;
mod repositories;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use maud::{Markup, html};
use serde::Deserialize;

use crate::error::ForgeError;
use crate::forge::Inner;

/// Builds the web pages and git's smart protocol, which shares their addresses.
pub(crate) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/", get(repositories::list))
        .route("/-/style.css", get(layout::style))
        .route("/avatars/u/{id}", get(layout::avatar))
        .route("/-/deliveries", get(deliveries::list))
        .route("/-/deliveries/{id}", get(deliveries::one))
        .route("/-/deliveries/{id}/redeliver", post(deliveries::redeliver))
        .route("/{owner}/{repo}", get(repositories::one))
        .route("/{owner}/{repo}/branches", get(repositories::branches))
        .route("/{owner}/{repo}/tree/{*rest}", get(files::tree))
        .route("/{owner}/{repo}/blob/{*rest}", get(files::blob))
        .route("/{owner}/{repo}/raw/{*rest}", get(files::raw))
        .route("/{owner}/{repo}/commits/{*rest}", get(repositories::commits))
        .route("/{owner}/{repo}/commit/{sha}", get(files::commit))
        .route("/{owner}/{repo}/pulls", get(pulls::list))
        .route("/{owner}/{repo}/pull/{number}", get(pulls::one))
        .route("/{owner}/{repo}/pull/{number}/merge", post(pulls::merge))
        .route("/{owner}/{repo}/pull/{number}/close", post(pulls::close))
        .route("/{owner}/{repo}/pull/{number}/reopen", post(pulls::reopen))
        .merge(crate::smart_http::routes())
        .fallback(not_found)
        .with_state(inner)
}

/// What a page gives.
type PageAnswer = Result<Response, PageError>;

/// Why there is no page.
#[derive(Debug)]
struct PageError(ForgeError);

impl<E: Into<ForgeError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl axum::response::IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, headline) = match &self.0 {
            ForgeError::NotFound(_) => (StatusCode::NOT_FOUND, "There is nothing here"),
            ForgeError::Forbidden(_) => (StatusCode::FORBIDDEN, "This is not allowed"),
            ForgeError::NotMergeable(_) | ForgeError::Conflict(_) => {
                (StatusCode::CONFLICT, "This cannot be merged now")
            }
            ForgeError::Git(_) | ForgeError::Io { .. } | ForgeError::Crypto(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "The sandbox failed")
            }
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "This cannot be done"),
        };
        let body = html! {
            h1 { (headline) }
            p { (self.0) }
            p { a href="/" { "All repositories" } }
        };
        let mut answer = page(headline, &[], &body);
        *answer.status_mut() = status;
        answer
    }
}

async fn not_found() -> PageAnswer {
    Err(ForgeError::not_found().into())
}

/// Wraps a body into a whole page.
fn page(title: &str, trail: &[(&str, String)], body: &Markup) -> Response {
    let text = layout::document(title, trail, body).into_string();
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                 frame-ancestors 'none'",
            ),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, text).into_response()
}

/// Leads to another page after something was done.
fn see(address: &str) -> PageAnswer {
    let mut answer = Response::default();
    *answer.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(address) = HeaderValue::try_from(address) {
        answer.headers_mut().insert(header::LOCATION, address);
    }
    Ok(answer)
}

/// What every form sends.
#[derive(Debug, Deserialize)]
struct Pressed {
    token: String,
    #[serde(default)]
    method: crate::model::MergeMethod,
    #[serde(default)]
    sha: Option<String>,
}

impl Pressed {
    /// Refuses a form that was not made by us.
    fn check(&self, inner: &Inner) -> Result<(), ForgeError> {
        let ours = inner.csrf_token.as_bytes();
        aws_lc_rs::constant_time::verify_slices_are_equal(self.token.as_bytes(), ours).map_err(|_differ| {
            ForgeError::Forbidden("The form is out of date; load the page again and repeat.".into())
        })
    }
}
