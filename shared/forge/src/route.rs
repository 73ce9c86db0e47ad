//! The requests that are made, each kind named once: how it is counted, and which permission it needs.

/// The HTTP methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    pub(crate) const fn method(self) -> http::Method {
        match self {
            Self::Get => http::Method::GET,
            Self::Post => http::Method::POST,
            Self::Put => http::Method::PUT,
            Self::Patch => http::Method::PATCH,
            Self::Delete => http::Method::DELETE,
        }
    }
}

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// The path with placeholders, as GitHub documents it.
    pub(crate) template: &'static str,
    /// The permission that GitHub asks for, in the words of its settings pages.
    pub(crate) needs: &'static str,
}

const fn route(verb: Verb, template: &'static str, needs: &'static str) -> Route {
    Route {
        verb,
        template,
        needs,
    }
}

const PULLS_READ: &str = "Pull requests: read";
const PULLS_WRITE: &str = "Pull requests: write";
const APP: &str = "the App's own key";
const HOOKS: &str = "Webhooks: write";

pub(crate) const USER: Route = route(Verb::Get, "/user", "a user's token");
pub(crate) const APP_SELF: Route = route(Verb::Get, "/app", APP);
pub(crate) const APP_TOKEN: Route = route(
    Verb::Post,
    "/app/installations/{installation_id}/access_tokens",
    APP,
);
pub(crate) const REPO_INSTALLATION: Route = route(Verb::Get, "/repos/{owner}/{repo}/installation", APP);
pub(crate) const APP_DELIVERIES: Route = route(Verb::Get, "/app/hook/deliveries", APP);
pub(crate) const APP_REDELIVER: Route = route(Verb::Post, "/app/hook/deliveries/{delivery_id}/attempts", APP);
pub(crate) const REPO_DELIVERIES: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries",
    HOOKS,
);
pub(crate) const REPO_REDELIVER: Route = route(
    Verb::Post,
    "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts",
    HOOKS,
);

pub(crate) const REPO: Route = route(Verb::Get, "/repos/{owner}/{repo}", "Metadata: read");
pub(crate) const PULLS: Route = route(Verb::Get, "/repos/{owner}/{repo}/pulls", PULLS_READ);
pub(crate) const PULL: Route = route(Verb::Get, "/repos/{owner}/{repo}/pulls/{pull_number}", PULLS_READ);
pub(crate) const PULL_FILES: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/pulls/{pull_number}/files",
    PULLS_READ,
);
pub(crate) const CREATE_PULL: Route = route(Verb::Post, "/repos/{owner}/{repo}/pulls", PULLS_WRITE);
pub(crate) const UPDATE_PULL: Route = route(
    Verb::Patch,
    "/repos/{owner}/{repo}/pulls/{pull_number}",
    PULLS_WRITE,
);
pub(crate) const MERGE: Route = route(
    Verb::Put,
    "/repos/{owner}/{repo}/pulls/{pull_number}/merge",
    "Contents: write",
);
pub(crate) const REVIEWS: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/pulls/{pull_number}/reviews",
    PULLS_READ,
);
pub(crate) const CREATE_REVIEW: Route = route(
    Verb::Post,
    "/repos/{owner}/{repo}/pulls/{pull_number}/reviews",
    PULLS_WRITE,
);
pub(crate) const COMMENTS: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/issues/{issue_number}/comments",
    PULLS_READ,
);
pub(crate) const CREATE_COMMENT: Route = route(
    Verb::Post,
    "/repos/{owner}/{repo}/issues/{issue_number}/comments",
    PULLS_WRITE,
);
pub(crate) const UPDATE_COMMENT: Route = route(
    Verb::Patch,
    "/repos/{owner}/{repo}/issues/comments/{comment_id}",
    PULLS_WRITE,
);
pub(crate) const COMMENT: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/issues/comments/{comment_id}",
    PULLS_READ,
);
pub(crate) const REACTIONS: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/issues/comments/{comment_id}/reactions",
    PULLS_READ,
);
pub(crate) const CREATE_REACTION: Route = route(
    Verb::Post,
    "/repos/{owner}/{repo}/issues/comments/{comment_id}/reactions",
    PULLS_WRITE,
);
pub(crate) const PERMISSION: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/collaborators/{username}/permission",
    "Metadata: read",
);
pub(crate) const ADD_LABELS: Route = route(
    Verb::Post,
    "/repos/{owner}/{repo}/issues/{issue_number}/labels",
    PULLS_WRITE,
);
pub(crate) const ADD_ASSIGNEES: Route = route(
    Verb::Post,
    "/repos/{owner}/{repo}/issues/{issue_number}/assignees",
    PULLS_WRITE,
);
pub(crate) const SET_STATUS: Route = route(
    Verb::Post,
    "/repos/{owner}/{repo}/statuses/{sha}",
    "Commit statuses: write",
);
pub(crate) const STATUSES: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/commits/{ref}/status",
    "Commit statuses: read",
);
pub(crate) const CHECK_RUNS: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/commits/{ref}/check-runs",
    "Checks: read",
);
pub(crate) const CREATE_CHECK_RUN: Route =
    route(Verb::Post, "/repos/{owner}/{repo}/check-runs", "Checks: write");
pub(crate) const UPDATE_CHECK_RUN: Route = route(
    Verb::Patch,
    "/repos/{owner}/{repo}/check-runs/{check_run_id}",
    "Checks: write",
);
pub(crate) const ANNOTATIONS: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/check-runs/{check_run_id}/annotations",
    "Checks: read",
);
pub(crate) const TEAM_MEMBERS: Route = route(
    Verb::Get,
    "/orgs/{org}/teams/{team_slug}/members",
    "Members: read",
);
pub(crate) const REF: Route = route(Verb::Get, "/repos/{owner}/{repo}/git/ref/{ref}", "Contents: read");
pub(crate) const CREATE_REF: Route = route(Verb::Post, "/repos/{owner}/{repo}/git/refs", "Contents: write");
pub(crate) const MATCHING_REFS: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/git/matching-refs/{ref}",
    "Contents: read",
);
pub(crate) const DELETE_REF: Route = route(
    Verb::Delete,
    "/repos/{owner}/{repo}/git/refs/{ref}",
    "Contents: write",
);
pub(crate) const UPDATE_REF: Route = route(
    Verb::Patch,
    "/repos/{owner}/{repo}/git/refs/{ref}",
    "Contents: write",
);
pub(crate) const COMPARE: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/compare/{basehead}",
    "Contents: read",
);
pub(crate) const COMMIT: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/git/commits/{commit_sha}",
    "Contents: read",
);
pub(crate) const CREATE_COMMIT: Route =
    route(Verb::Post, "/repos/{owner}/{repo}/git/commits", "Contents: write");
pub(crate) const TREE: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/git/trees/{tree_sha}",
    "Contents: read",
);
pub(crate) const CREATE_TREE: Route = route(Verb::Post, "/repos/{owner}/{repo}/git/trees", "Contents: write");
pub(crate) const BLOB: Route = route(
    Verb::Get,
    "/repos/{owner}/{repo}/git/blobs/{file_sha}",
    "Contents: read",
);
pub(crate) const CREATE_BLOB: Route = route(Verb::Post, "/repos/{owner}/{repo}/git/blobs", "Contents: write");
pub(crate) const GRAPHQL: Route = route(Verb::Post, "/graphql", PULLS_WRITE);
