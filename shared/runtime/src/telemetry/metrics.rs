//! `/metrics`: what the instruments have counted, in the text form of Prometheus.
//!
//! The instruments are OpenTelemetry's; what is scraped here and what is sent to a collector are two views of the same numbers.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tracing::error;

/// The route `/metrics`.
pub(super) fn router(registry: Registry) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(registry)
}

async fn scrape(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(failed) => {
            error!(error = %failed, "the metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
