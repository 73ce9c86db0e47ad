//! Pull requests: the list, one of them, and the buttons to merge, close and reopen it.

use std::sync::Arc;

use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{badge, commit_link, diff};
use super::markdown::markdown;
use super::repositories::{find, tabs};
use super::{PageAnswer, PageError, Pressed, page, see};
use crate::auth::Actor;
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::model::{PullRequest, PullRequestState, ReviewState};
use crate::operations::merge::MergeRequest;
use crate::operations::pull_requests::{Comparison, Edit, with_comparison};
use crate::operations::{merge as merging, pull_requests};
use crate::shape::path_in_url;
use crate::state::{RepoRef, Repository};

fn state_badge(pull: &PullRequest) -> Markup {
    match (pull.merged, pull.state) {
        (true, _) => badge("merged", "Merged"),
        (false, PullRequestState::Closed) => badge("closed", "Closed"),
        (false, PullRequestState::Open) if pull.draft => badge("muted", "Draft"),
        (false, PullRequestState::Open) => badge("open", "Open"),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    state: Option<String>,
}

/// `GET /{owner}/{repo}/pulls`
pub(super) async fn list(
    State(inner): State<Arc<Inner>>,
    Path((owner, name)): Path<(String, String)>,
    Query(filter): Query<Filter>,
) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let wanted = filter.state.as_deref().unwrap_or("all");
    let pulls: Vec<PullRequest> = {
        let state = inner.state();
        let all = state.repository(&repo.key)?.pulls.values().rev();
        all.filter(|pull| wanted == "all" || pull.state.as_str() == wanted)
            .cloned()
            .collect()
    };
    let body = html! {
        h1 { "Pull requests of " (repo.full_name) }
        (tabs(&inner, &repo))
        p {
            @for (state, text) in [("all", "All"), ("open", "Open"), ("closed", "Closed")] {
                @if state == wanted { strong { (text) } } @else { a href={ "?state=" (state) } { (text) } }
                " "
            }
        }
        @if pulls.is_empty() { p { "There are none." } }
        ul.list {
            @for pull in &pulls {
                li {
                    (state_badge(pull)) " "
                    a href={ "/" (repo.full_name) "/pull/" (pull.number) } { strong { (pull.title) } }
                    @for label in &pull.labels { " " (badge("label", label)) }
                    br;
                    span.muted {
                        "#" (pull.number) " by " (pull.author) ", "
                        (pull.head.branch) " into " (pull.base.branch) ", " (pull.created_at)
                    }
                }
            }
        }
    };
    Ok(page(
        "Pull requests",
        &[(&repo.full_name, format!("/{}", repo.full_name))],
        &body,
    ))
}

/// `GET /{owner}/{repo}/pull/{number}`, and `.diff` behind the number for the bare diff.
pub(super) async fn one(
    State(inner): State<Arc<Inner>>,
    Path((owner, name, number)): Path<(String, String, String)>,
) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let bare = number.strip_suffix(".diff");
    let number: u64 = bare
        .unwrap_or(&number)
        .parse()
        .map_err(|_not_a_number| ForgeError::not_found())?;
    let (pull, comparison) = with_comparison(&inner, &repo, number).await?;
    let text = match &comparison.merge_base {
        Some(from) => inner.git.diff_text(&repo.dir, from, &pull.head.sha).await?,
        None => String::new(),
    };
    if bare.is_some() {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        return Ok(([(header::CONTENT_TYPE, kind)], text).into_response());
    }
    let (statuses, actions) = {
        let state = inner.state();
        let repository = state.repository(&repo.key)?;
        (
            statuses(repository, &pull.head.sha),
            actions(&inner, repository, &pull, &comparison),
        )
    };
    let commits = inner.git.commits(&repo.dir, &comparison.commits).await?;
    let body = html! {
        h1 { (pull.title) " " span.muted { "#" (pull.number) } }
        p {
            (state_badge(&pull)) " " strong { (pull.author) } " wants to merge "
            a href={ "/" (repo.full_name) "/tree/" (path_in_url(&pull.head.branch)) } { (pull.head.branch) }
            " into "
            a href={ "/" (repo.full_name) "/tree/" (path_in_url(&pull.base.branch)) } { (pull.base.branch) }
        }
        @if !pull.labels.is_empty() { p { @for label in &pull.labels { (badge("label", label)) " " } } }
        @if !pull.assignees.is_empty() { p { "Assigned to " (pull.assignees.join(", ")) } }
        @if let (Some(by), Some(sha)) = (&pull.merged_by, &pull.merge_commit_sha) {
            p { "Merged by " strong { (by) } " as " (commit_link(&repo.full_name, sha)) }
        }
        (actions)
        (card(&pull.author, &pull.created_at.to_string(), pull.body.as_deref().unwrap_or("No description."), None))
        (conversation(&pull))
        (statuses)
        h2 { "Commits (" (commits.len()) ")" }
        ul.list {
            @for commit in &commits {
                li { (commit_link(&repo.full_name, &commit.sha)) " " (commit.subject()) }
            }
        }
        h2 { "Files (" (comparison.files.len()) ")" }
        ul.list {
            @for file in comparison.files.iter().take(500) {
                li {
                    (file.path)
                    span.muted {
                        " " (file.status)
                        @if let Some(previous) = &file.previous { " from " (previous) }
                        " +" (file.additions) " −" (file.deletions)
                    }
                }
            }
        }
        (diff(&text))
    };
    let trail = [
        (repo.full_name.as_str(), format!("/{}", repo.full_name)),
        ("Pull requests", format!("/{}/pulls", repo.full_name)),
    ];
    Ok(page(&pull.title, &trail, &body))
}

fn card(author: &str, at: &str, text: &str, minimized: Option<&str>) -> Markup {
    html! {
        @if let Some(reason) = minimized {
            details.card {
                summary { strong { (author) } " " span.muted { (at) ", hidden: " (reason) } }
                div.text { (markdown(text)) }
            }
        } @else {
            article.card {
                div { strong { (author) } " " span.muted { (at) } }
                div.text { (markdown(text)) }
            }
        }
    }
}

fn conversation(pull: &PullRequest) -> Markup {
    html! {
        @for comment in &pull.comments {
            (card(&comment.author, &comment.created_at.to_string(), &comment.body, comment.minimized.as_deref()))
        }
        @for review in &pull.reviews {
            p {
                strong { (review.author) } " "
                @match review.state {
                    ReviewState::Approved => (badge("success", "Approved")),
                    ReviewState::ChangesRequested => (badge("failure", "Changes requested")),
                    ReviewState::Commented => (badge("muted", "Reviewed")),
                    ReviewState::Pending => (badge("muted", "Review pending")),
                }
                " " span.muted { (review.submitted_at) }
            }
            @if !review.body.is_empty() { (markdown(&review.body)) }
        }
    }
}

/// Shows the statuses and checks of a commit.
pub(super) fn statuses(repository: &Repository, sha: &str) -> Markup {
    let statuses = repository.latest_statuses(sha);
    let checks: Vec<_> = repository
        .check_runs
        .values()
        .filter(|run| run.head_sha == sha)
        .collect();
    html! {
        @if !statuses.is_empty() || !checks.is_empty() {
            h2 { "Statuses" }
            ul.list {
                @for status in statuses {
                    li {
                        (badge(&status.state, &status.state)) " " strong { (status.context) } " "
                        (status.description.as_deref().unwrap_or_default())
                    }
                }
                @for run in checks {
                    @let outcome = run.conclusion.as_deref().unwrap_or(&run.status);
                    li {
                        (badge(outcome, outcome)) " " strong { (run.name) } " "
                        (run.title.as_deref().unwrap_or_default())
                    }
                }
            }
        }
    }
}

/// Shows the buttons, or why there is none to merge.
fn actions(inner: &Inner, repository: &Repository, pull: &PullRequest, comparison: &Comparison) -> Markup {
    let base = format!("/{}/pull/{}", repository.full_name(), pull.number);
    let obstacle = if comparison.clean {
        merging::blocked(repository, pull)
    } else {
        Some("This branch has conflicts that must be resolved.".to_owned())
    };
    let settings = &repository.settings;
    let methods = [
        ("merge", "Merge commit", settings.allow_merge_commit),
        ("squash", "Squash", settings.allow_squash_merge),
        ("rebase", "Rebase", settings.allow_rebase_merge),
    ];
    let token = html! { input type="hidden" name="token" value=(inner.csrf_token); };
    html! {
        @if pull.state == PullRequestState::Open {
            @if let Some(obstacle) = &obstacle {
                p.failure { (obstacle) }
            } @else {
                form method="post" action={ (base) "/merge" } {
                    (token)
                    input type="hidden" name="sha" value=(pull.head.sha);
                    label for="method" { "How" }
                    select id="method" name="method" {
                        @for (value, text, allowed) in methods {
                            @if allowed { option value=(value) { (text) } }
                        }
                    }
                    button.main type="submit" { "Merge" }
                }
            }
            form method="post" action={ (base) "/close" } { (token) button type="submit" { "Close without merging" } }
        } @else if !pull.merged {
            form method="post" action={ (base) "/reopen" } { (token) button type="submit" { "Reopen" } }
        }
    }
}

type NumberPath = Path<(String, String, u64)>;

/// Does what a button says as the viewer, to the end even where the browser goes away, and shows the page again.
async fn press<F>(
    inner: Arc<Inner>,
    (owner, name, number): (String, String, u64),
    pressed: &Pressed,
    work: impl FnOnce(Arc<Inner>, RepoRef, Actor) -> F,
) -> Result<Response, PageError>
where
    F: Future<Output = Result<(), ForgeError>> + Send + 'static,
{
    pressed.check(&inner)?;
    let repo = find(&inner, &owner, &name)?;
    let address = format!("/{}/pull/{number}", repo.full_name);
    let actor = Actor::User(inner.options.viewer.clone());
    let done = tokio::spawn(work(inner, repo, actor)).await;
    done.map_err(|_panicked| ForgeError::Crypto("the work ended early"))??;
    see(&address)
}

/// `POST /{owner}/{repo}/pull/{number}/merge`
pub(super) async fn merge(
    State(inner): State<Arc<Inner>>,
    Path(path): NumberPath,
    Form(pressed): Form<Pressed>,
) -> PageAnswer {
    let number = path.2;
    let request = MergeRequest {
        method: pressed.method,
        sha: pressed.sha.clone(),
        title: None,
        message: None,
    };
    press(inner, path, &pressed, |inner, repo, actor| async move {
        merging::merge(&inner, &repo, &actor, number, request)
            .await
            .map(drop)
    })
    .await
}

async fn set_state(
    inner: Arc<Inner>,
    path: (String, String, u64),
    pressed: &Pressed,
    state: PullRequestState,
) -> PageAnswer {
    let number = path.2;
    let edit = Edit {
        state: Some(state),
        ..Edit::default()
    };
    press(inner, path, pressed, |inner, repo, actor| async move {
        pull_requests::edit(&inner, &repo, &actor, number, edit).await
    })
    .await
}

/// `POST /{owner}/{repo}/pull/{number}/close`
pub(super) async fn close(
    State(inner): State<Arc<Inner>>,
    Path(path): NumberPath,
    Form(pressed): Form<Pressed>,
) -> PageAnswer {
    set_state(inner, path, &pressed, PullRequestState::Closed).await
}

/// `POST /{owner}/{repo}/pull/{number}/reopen`
pub(super) async fn reopen(
    State(inner): State<Arc<Inner>>,
    Path(path): NumberPath,
    Form(pressed): Form<Pressed>,
) -> PageAnswer {
    set_state(inner, path, &pressed, PullRequestState::Open).await
}
