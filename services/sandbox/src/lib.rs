#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod answers;
mod auth;
mod change;
mod clock;
mod error;
mod faults;
mod forge;
mod git;
mod identities;
mod ids;
mod model;
mod operations;
mod options;
mod rest;
mod server;
mod shape;
mod smart_http;
mod state;
mod usage;
mod verbs;
mod web;
mod webhook;

use std::sync::Arc;

use axum::Router;

pub use crate::change::Change;
pub use crate::clock::Timestamp;
pub use crate::error::{FieldError, ForgeError};
pub use crate::faults::{Effect, Fault, Faults, GitService, Held, HoldPoint, RequestMatcher};
pub use crate::forge::Forge;
pub use crate::git::GitError;
pub use crate::identities::App;
pub use crate::model::{
    Access, CheckAnnotation, CheckRun, Comment, Label, Level, MergeMethod, Permissions, Protection,
    PullRequest, PullRequestEnd, PullRequestState, Reaction, RepositorySettings, Review, ReviewState, Status,
    Team, User, UserKind, promotion_permissions,
};
pub use crate::options::{AppOptions, ForgeOptions, Limits};
pub use crate::usage::{GitUsage, RecordedRequest, RepositoryUsage, RouteUsage, Usage};
pub use crate::webhook::{Delivery, HookTarget, WebhookFaults};

/// Puts the three faces of the forge together: REST and GraphQL, git, and the web pages.
fn router(inner: Arc<forge::Inner>) -> Router {
    Router::new()
        .nest("/api/v3", rest::router(Arc::clone(&inner)))
        .nest("/api", rest::graphql_only(Arc::clone(&inner)))
        .merge(web::router(inner))
        .layer(axum::middleware::from_fn(server::only_this_machine))
}
