//! GitHub's REST API below `/api/v3`, as Enterprise Server has it, and the two GraphQL mutations on comments.

mod apps;
mod branches;
mod call;
mod checks;
mod comments;
mod commits;
mod contents;
mod deliveries;
mod git_data;
mod graphql;
mod graphql_syntax;
mod issues;
mod page;
mod pipeline;
mod pulls;
mod rate_limit;
mod repositories;
mod reviews;
mod statuses;
mod teams;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{delete, get, patch, post, put};

use crate::answers;
use crate::error::ForgeError;
use crate::forge::Inner;

pub(crate) use rate_limit::RateCounter;

/// What every handler gives.
type Answer = Result<Response, ForgeError>;

fn ok(body: &serde_json::Value) -> Answer {
    Ok(answers::json(http::StatusCode::OK, body))
}

fn created(body: &serde_json::Value) -> Answer {
    Ok(answers::json(http::StatusCode::CREATED, body))
}

fn no_content() -> Answer {
    let mut answer = Response::default();
    *answer.status_mut() = http::StatusCode::NO_CONTENT;
    Ok(answer)
}

/// Builds the REST API.
pub(crate) fn router(inner: Arc<Inner>) -> Router {
    let repository = Router::new()
        .route("/", get(repositories::get))
        .route("/installation", get(apps::of_repository))
        .route("/contents", get(contents::root))
        .route("/contents/", get(contents::root))
        .route("/contents/{*path}", get(contents::get))
        .route("/git/ref/{*name}", get(git_data::get_ref))
        .route("/git/matching-refs/{*name}", get(git_data::matching_refs))
        .route("/git/refs", post(git_data::create_ref))
        .route(
            "/git/refs/{*name}",
            patch(git_data::update_ref).delete(git_data::delete_ref),
        )
        .route("/git/commits", post(git_data::create_commit))
        .route("/git/commits/{sha}", get(git_data::get_commit))
        .route("/git/trees", post(git_data::create_tree))
        .route("/git/trees/{*sha}", get(git_data::get_tree))
        .route("/git/blobs", post(git_data::create_blob))
        .route("/git/blobs/{sha}", get(git_data::get_blob))
        .route("/pulls", get(pulls::list).post(pulls::create))
        .route("/pulls/{number}", get(pulls::get).patch(pulls::update))
        .route("/pulls/{number}/files", get(pulls::files))
        .route("/pulls/{number}/commits", get(pulls::commits))
        .route("/pulls/{number}/merge", put(pulls::merge).get(pulls::is_merged))
        .route(
            "/pulls/{number}/reviews",
            get(reviews::list).post(reviews::create),
        )
        .route("/pulls/{number}/requested_reviewers", post(reviews::request))
        .route("/issues/comments/{id}", {
            get(comments::get)
                .patch(comments::update)
                .delete(comments::remove)
        })
        .route(
            "/issues/comments/{id}/reactions",
            get(comments::reactions).post(comments::react),
        )
        .route(
            "/collaborators/{login}/permission",
            get(repositories::permission_of),
        )
        .route("/issues/{number}", get(issues::get))
        .route(
            "/issues/{number}/comments",
            get(comments::list).post(comments::create),
        )
        .route(
            "/issues/{number}/labels",
            get(issues::labels).post(issues::add_labels),
        )
        .route("/issues/{number}/labels/{name}", delete(issues::remove_label))
        .route("/issues/{number}/assignees", post(issues::assign))
        .route(
            "/labels",
            get(issues::repository_labels).post(issues::create_label),
        )
        .route("/statuses/{sha}", post(statuses::create))
        .route("/commits", get(commits::list))
        .route("/commits/{*rest}", get(commits::dispatch))
        .route("/compare/{*basehead}", get(commits::compare))
        .route("/check-runs", post(checks::create))
        .route("/check-runs/{id}", patch(checks::update).get(checks::get))
        .route("/check-runs/{id}/annotations", get(checks::annotations))
        .route("/branches", get(branches::list))
        .route("/branches/{*rest}", get(branches::dispatch))
        .route("/hooks", get(deliveries::hooks))
        .route("/hooks/{hook}/deliveries", get(deliveries::of_hook))
        .route("/hooks/{hook}/deliveries/{id}", get(deliveries::one_of_hook))
        .route(
            "/hooks/{hook}/deliveries/{id}/attempts",
            post(deliveries::redeliver_of_hook),
        );
    let router = Router::new()
        .nest("/repos/{owner}/{repo}", repository)
        .route("/app", get(apps::authenticated))
        .route("/app/installations", get(apps::installations))
        .route("/app/installations/{id}", get(apps::installation))
        .route("/app/installations/{id}/access_tokens", post(apps::access_token))
        .route("/app/hook/deliveries", get(deliveries::of_app))
        .route("/app/hook/deliveries/{id}", get(deliveries::one_of_app))
        .route(
            "/app/hook/deliveries/{id}/attempts",
            post(deliveries::redeliver_of_app),
        )
        .route("/installation/repositories", get(apps::repositories))
        .route("/orgs/{org}/teams/{slug}/members", get(teams::members))
        .route("/rate_limit", get(rate_limit::get))
        .route("/user", get(repositories::user))
        .route("/users/{login}", get(repositories::user_by_login))
        .route("/graphql", post(graphql::post))
        .fallback(not_found);
    with_pipeline(router, inner)
}

/// Builds the part that Enterprise Server has at `/api/graphql`.
pub(crate) fn graphql_only(inner: Arc<Inner>) -> Router {
    with_pipeline(Router::new().route("/graphql", post(graphql::post)), inner)
}

fn with_pipeline(router: Router<Arc<Inner>>, inner: Arc<Inner>) -> Router {
    router
        .layer(from_fn_with_state(Arc::clone(&inner), pipeline::pass))
        .with_state(inner)
}

async fn not_found() -> Answer {
    Err(ForgeError::not_found())
}
