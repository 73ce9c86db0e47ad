//! RabbitMQ's management API, as far as `doctor` asks it (<https://www.rabbitmq.com/docs/management#http-api>).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: some hundred queues with their arguments.
const LONGEST: usize = 4 << 20;

/// Where the API is, and who asks. Shown without the password.
pub(super) struct Management {
    /// Scheme, host and port, without a slash at the end.
    origin: String,
    authorization: Option<SecretString>,
}

/// Why the API did not say anything.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error(
        "the address of RabbitMQ's management API is not like http://user:password@host:15672 or https://…"
    )]
    Address,
    #[error("the certificates of this machine can't be read")]
    Certificates(#[source] std::io::Error),
    #[error("RabbitMQ's management API at {0} did not answer within {PATIENCE:?}")]
    Silent(String),
    #[error("RabbitMQ's management API at {0} can't be reached")]
    Away(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "RabbitMQ's management API at {0} takes neither the user nor its password, or the user has no tag `management`"
    )]
    Unauthorized(String),
    #[error("RabbitMQ's management API at {0} answered {1}")]
    Refused(String, StatusCode),
    #[error("RabbitMQ's management API at {0} answered what is not understood")]
    Unreadable(String, #[source] serde_json::Error),
}

impl Management {
    /// Takes an address apart: `http://user:password@host:15672`. User and password are percent-encoded, as in every address.
    pub(super) fn parse(url: &str) -> Result<Self, Unanswered> {
        let url = url.trim().trim_end_matches('/');
        let (scheme, rest) = url.split_once("://").ok_or(Unanswered::Address)?;
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        let origin = format!("{scheme}://{host}");
        let is_plain = host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#".contains(&b));
        if !["http", "https"].contains(&scheme)
            || host.is_empty()
            || !is_plain
            || origin.parse::<Uri>().is_err()
        {
            return Err(Unanswered::Address);
        }
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let both = [decoded(name), b":".to_vec(), decoded(password)].concat();
            format!("Basic {}", STANDARD.encode(both)).into()
        });
        Ok(Self {
            origin,
            authorization,
        })
    }

    /// Asks for a resource: its path and parameters, encoded.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unanswered> {
        let mut request = Request::get(format!("{}{path}", self.origin))
            .header(header::USER_AGENT, "lockflight")
            .body(Empty::<Bytes>::new())
            .map_err(|_odd| Unanswered::Address)?;
        if let Some(authorization) = &self.authorization {
            let mut value =
                HeaderValue::from_str(authorization.expose_secret()).map_err(|_odd| Unanswered::Address)?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let origin = || self.origin.clone();
        let answer = tokio::time::timeout(PATIENCE, self.send(request)).await;
        let (status, body) = answer.map_err(|_late| Unanswered::Silent(origin()))??;
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map_err(|error| Unanswered::Unreadable(origin(), error))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Unanswered::Unauthorized(origin())),
            other => Err(Unanswered::Refused(origin(), other)),
        }
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), Unanswered> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let answering = if self.origin.starts_with("https:") {
            let secure = hyper_rustls::HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
                .map_err(Unanswered::Certificates)?
                .https_only()
                .enable_http1()
                .wrap_connector(connector);
            Client::builder(TokioExecutor::new())
                .build(secure)
                .request(request)
        } else {
            Client::builder(TokioExecutor::new())
                .build(connector)
                .request(request)
        };
        let away =
            |error: Box<dyn std::error::Error + Send + Sync>| Unanswered::Away(self.origin.clone(), error);
        let answer = answering.await.map_err(|error| away(error.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        Ok((status, body.map_err(away)?.to_bytes()))
    }
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Management").field(&self.origin).finish()
    }
}

/// What percent-encoding stands for; what is none stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        if let (b'%', (Some(high), Some(low))) = (byte, pair) {
            decoded.extend(u8::try_from(high * 16 + low));
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    decoded
}

/// A name as one part of a path, or as the value of a parameter.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_password_is_never_shown() {
        let api = Management::parse(" https://ann:s%2Fcret@broker.example:15671/ ").unwrap();
        assert_eq!(api.origin, "https://broker.example:15671");
        assert_eq!(
            api.authorization.as_ref().unwrap().expose_secret(),
            format!("Basic {}", STANDARD.encode("ann:s/cret"))
        );
        assert!(!format!("{api:?}").contains("cret"));
        for bad in [
            "",
            "broker:15672",
            "amqp://a:secret@b",
            "http://",
            "http://a:secret@b/api",
            "http://a:secret@",
        ] {
            let refused = Management::parse(bad).unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("secret"), "{bad}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for text in ["/", "team/a", "100%", "ü ^[.]"] {
            assert_eq!(decoded(&encoded(text)), text.as_bytes());
        }
        assert_eq!(encoded("/a b"), "%2Fa%20b");
        assert_eq!(decoded("%zz%4"), b"%zz%4");
    }
}
