//! What a handler knows of a call, and how bodies are read.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{Uri, header};
use serde::de::DeserializeOwned;

use super::page::Page;
use crate::auth::{Actor, Need, authorize};
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::state::RepoRef;

/// A call of the API: who asks, and for what.
pub(super) struct Call {
    pub(super) inner: Arc<Inner>,
    pub(super) actor: Actor,
    pub(super) uri: Uri,
    pub(super) accept: String,
    /// The path and query below `/api/v3`, as they were sent.
    pub(super) full_path: FullPath,
}

/// The path and query below `/api/v3`, as they were sent. The pipeline puts it in.
#[derive(Debug, Clone)]
pub(super) struct FullPath(pub(super) Uri);

impl FromRequestParts<Arc<Inner>> for Call {
    type Rejection = ForgeError;

    async fn from_request_parts(parts: &mut Parts, inner: &Arc<Inner>) -> Result<Self, ForgeError> {
        let actor = parts
            .extensions
            .get::<Actor>()
            .cloned()
            .unwrap_or(Actor::Anonymous);
        let accept = parts
            .headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok());
        let full_path = parts.extensions.get::<FullPath>().cloned();
        Ok(Self {
            inner: Arc::clone(inner),
            actor,
            uri: parts.uri.clone(),
            accept: accept.unwrap_or_default().to_owned(),
            full_path: full_path.unwrap_or_else(|| FullPath(parts.uri.clone())),
        })
    }
}

impl Call {
    /// Finds the repository, and refuses whoever may not do this in it.
    pub(super) fn repo(&self, owner: &str, name: &str, need: Need) -> Result<RepoRef, ForgeError> {
        let full_name = format!("{owner}/{name}");
        let state = self.inner.state();
        authorize(&self.actor, state.repository(&full_name)?, need)?;
        state.repo_ref(&full_name)
    }

    /// Reads the query.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, ForgeError> {
        Query::<T>::try_from_uri(&self.uri)
            .map(|Query(query)| query)
            .map_err(|error| ForgeError::Unprocessable(format!("Invalid request. {error}")))
    }

    /// Reads which page is wanted.
    pub(super) fn page(&self) -> Result<Page, ForgeError> {
        self.query()
    }

    /// Tells whether one of GitHub's media types is asked for, such as `raw` or `diff`.
    pub(super) fn wants(&self, media: &str) -> bool {
        let plain = format!("application/vnd.github.{media}");
        let versioned = format!("application/vnd.github.v3.{media}");
        self.accept
            .split(',')
            .map(|one| one.split(';').next().unwrap_or_default().trim())
            .any(|one| {
                let one = one.trim_end_matches("+json");
                one == plain || one == versioned
            })
    }

    /// Returns the address of the call, for links to other pages of it.
    pub(super) fn address(&self) -> String {
        format!("{}{}", self.inner.api_url(), self.full_path.0)
    }
}

/// A JSON body. None at all is the same as `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Inner>> for Body<T> {
    type Rejection = ForgeError;

    async fn from_request(request: Request, inner: &Arc<Inner>) -> Result<Self, ForgeError> {
        let body = Bytes::from_request(request, inner)
            .await
            .map_err(|_too_long| ForgeError::BadRequest("Problems parsing JSON".into()))?;
        let body = if body.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            body
        };
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| match error.classify() {
                serde_json::error::Category::Data => {
                    ForgeError::Unprocessable(format!("Invalid request.\n\n{error}"))
                }
                _ => ForgeError::BadRequest("Problems parsing JSON".into()),
            })
    }
}
