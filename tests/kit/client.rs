//! A plain HTTP client for JSON: no retry, no redirect, no opinion.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde_json::Value;

use crate::wire::{full, send};

/// Asks one server on loopback, always with the same credentials.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    prefix: String,
    authorization: Option<String>,
    accept: String,
}

/// An answer that was read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, for messages.
    pub asked: String,
    /// The status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// Returns a client without credentials. The prefix stands before every path: `/api/v3` or nothing.
    pub fn new(address: SocketAddr, prefix: &str) -> Self {
        Self {
            address,
            prefix: prefix.to_owned(),
            authorization: None,
            accept: "application/vnd.github+json".to_owned(),
        }
    }

    /// Returns the same client with a bearer token.
    #[must_use]
    pub fn bearer(&self, token: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {token}")),
            ..self.clone()
        }
    }

    /// Returns the same client with another `Accept`.
    #[must_use]
    pub fn accepting(&self, media: &str) -> Self {
        Self {
            accept: media.to_owned(),
            ..self.clone()
        }
    }

    /// Asks with GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None::<&Value>).await
    }

    /// Asks with POST and a JSON body.
    pub async fn post(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Answer {
        self.ask("POST", path, Some(body)).await
    }

    /// Asks with PATCH and a JSON body.
    pub async fn patch(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Answer {
        self.ask("PATCH", path, Some(body)).await
    }

    /// Asks with PUT and a JSON body.
    pub async fn put(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Answer {
        self.ask("PUT", path, Some(body)).await
    }

    /// Asks with DELETE and no body.
    pub async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None::<&Value>).await
    }

    /// Asks with any method; panics if no answer comes.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&(impl Serialize + ?Sized)>) -> Answer {
        let answer = self.try_ask(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: no answer: {error}"))
    }

    /// Asks with any method; an error means that the connection ended without an answer.
    pub async fn try_ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> std::io::Result<Answer> {
        let bytes = body.map(|body| serde_json::to_vec(body).expect("a test sends what can be JSON"));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, self.address.to_string())
            .header(header::USER_AGENT, "lockflight-tests")
            .header(header::ACCEPT, &self.accept);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if bytes.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(full(bytes.unwrap_or_default().into()))
            .expect("a test asks for what can be asked");
        let (parts, body) = send(self.address, request).await?.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok(Answer {
            asked: format!("{method} {path}"),
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }
}

impl Answer {
    /// Panics with the whole answer unless the status is this one; returns the JSON body, or `null` for an empty one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert!(
            self.status == status,
            "{}: expected {status}, got {}: {}",
            self.asked,
            self.status,
            self.text()
        );
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: the body is not JSON ({error}): {}", self.asked, self.text()))
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the URL of a relation in the `Link` header, such as `next`.
    pub fn link(&self, relation: &str) -> Option<String> {
        let links = self.headers.get(header::LINK)?.to_str().ok()?;
        links.split(',').find_map(|link| {
            let (url, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
            rest.contains(&format!("rel=\"{relation}\""))
                .then(|| url.to_owned())
        })
    }
}
