//! What GitHub, and the person who looks at its list of deliveries, gets to read. Nothing of the delivery's body is ever in it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use lockflight_promotion::{DeliveryId, telemetry};
use serde::Serialize;
use tracing::{debug, info, warn};

use crate::body::BodyError;
use crate::payload::Unreadable;
use crate::signature::Unsigned;

const UNAVAILABLE: &str = "unavailable";

/// An answer, as JSON: `status`, `delivery` once it is known, and for all but `accepted` a `message`.
#[derive(Debug)]
pub(crate) struct Answer {
    code: StatusCode,
    retry_after_s: Option<u16>,
    /// The event, as a metric may have it; none before it is known.
    event: Option<&'static str>,
    reply: Reply,
}

#[derive(Debug, Serialize)]
struct Reply {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Answer {
    fn new(code: StatusCode, status: &'static str) -> Self {
        Self {
            code,
            retry_after_s: None,
            event: None,
            reply: Reply {
                status,
                delivery: None,
                message: None,
            },
        }
    }

    fn saying(mut self, message: impl Into<String>) -> Self {
        self.reply.message = Some(message.into());
        self
    }

    fn again_in(mut self, seconds: u16) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The queue has confirmed it.
    pub(crate) fn accepted() -> Self {
        Self::new(StatusCode::ACCEPTED, "accepted")
    }

    /// It is genuine, and there is nothing to do.
    pub(crate) fn ignored(reason: &str) -> Self {
        Self::new(StatusCode::ACCEPTED, "ignored").saying(reason)
    }

    /// GitHub tried the webhook out.
    pub(crate) fn pong() -> Self {
        Self::new(StatusCode::OK, "pong").saying("the address and the secret are right")
    }

    /// The queue did not confirm it.
    pub(crate) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE)
            .saying(
                "the delivery could not be stored; it can be redelivered as soon as /readyz is ready again",
            )
            .again_in(30)
    }

    /// Too much is in hand.
    pub(crate) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy")
            .saying("too many deliveries are in hand; redeliver it in a moment")
            .again_in(1)
    }

    /// Our own mistake.
    pub(crate) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "broken")
            .saying("it met a mistake of Lockflight and was not stored; the log says more")
    }

    /// It was not a POST.
    pub(crate) fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "refused")
            .saying("GitHub sends webhooks to this address by POST")
    }

    pub(crate) fn of_event(mut self, event: &str) -> Self {
        self.event = Some(telemetry::event(event));
        self
    }

    /// The event, for metrics: `none` for what was refused before it was known.
    pub(crate) fn event(&self) -> &'static str {
        self.event.unwrap_or("none")
    }

    /// How it ended, for metrics.
    pub(crate) fn result(&self) -> &'static str {
        if self.code == StatusCode::UNAUTHORIZED {
            return "bad_signature";
        }
        self.reply.status
    }

    /// The HTTP status.
    pub(crate) fn code(&self) -> StatusCode {
        self.code
    }

    pub(crate) fn about(mut self, delivery: DeliveryId) -> Self {
        self.reply.delivery = Some(delivery);
        self
    }

    /// Says in the log how the delivery ended. What sets nothing off is most of what GitHub sends, so it is said at `debug` only.
    pub(crate) fn log(&self) {
        let code = self.code.as_u16();
        let delivery = self.reply.delivery.as_ref().map_or("?", DeliveryId::as_str);
        let (status, message) = (
            self.reply.status,
            self.reply.message.as_deref().unwrap_or_default(),
        );
        if matches!(self.code, StatusCode::INTERNAL_SERVER_ERROR) || status == UNAVAILABLE {
            // Said already, with its cause.
        } else if !self.code.is_success() {
            warn!(code, status, "delivery {delivery}: {message}");
        } else if message.is_empty() {
            info!(code, status, "delivery {delivery} is stored");
        } else {
            debug!(code, status, "delivery {delivery}: {message}");
        }
    }

    fn refused(code: StatusCode, reason: &impl std::fmt::Display) -> Self {
        Self::new(code, "refused").saying(format!("refused: {reason}"))
    }
}

impl From<Unsigned> for Answer {
    fn from(reason: Unsigned) -> Self {
        Self::refused(StatusCode::UNAUTHORIZED, &reason)
    }
}

impl From<BodyError> for Answer {
    fn from(reason: BodyError) -> Self {
        match reason {
            BodyError::TooLarge(_) => Self::refused(StatusCode::PAYLOAD_TOO_LARGE, &reason),
            BodyError::Slow(_) => Self::refused(StatusCode::REQUEST_TIMEOUT, &reason),
            BodyError::Broken => Self::refused(StatusCode::BAD_REQUEST, &reason),
            BodyError::Busy => Self::busy(),
        }
    }
}

impl From<Unreadable> for Answer {
    fn from(reason: Unreadable) -> Self {
        let code = match reason {
            Unreadable::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::refused(code, &reason)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.code, Json(self.reply)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}
