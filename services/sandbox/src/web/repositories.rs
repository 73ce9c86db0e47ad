//! The list of repositories, and one of them.

use std::sync::Arc;

use axum::extract::{Path, State};
use maud::{Markup, html};

use super::files::{entries, split_revision};
use super::layout::commit_link;
use super::{PageAnswer, page};
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::shape::path_in_url;
use crate::state::RepoRef;

/// Commits on the page of a branch.
const COMMITS: &str = "--max-count=100";

/// `GET /`
pub(super) async fn list(State(inner): State<Arc<Inner>>) -> PageAnswer {
    let rows: Vec<(String, usize, usize)> = inner
        .state()
        .repositories
        .values()
        .map(|repository| {
            (
                repository.full_name(),
                repository.open_pulls().count(),
                repository.pulls.len(),
            )
        })
        .collect();
    let body = html! {
        h1 { "Repositories" }
        @if rows.is_empty() { p { "There are none yet." } }
        ul.list {
            @for (name, open, all) in &rows {
                li {
                    a href={ "/" (name) } { strong { (name) } }
                    " "
                    a.muted href={ "/" (name) "/pulls" } { (open) " open of " (all) " pull requests" }
                }
            }
        }
    };
    Ok(page("Repositories", &[], &body))
}

pub(super) fn find(inner: &Inner, owner: &str, name: &str) -> Result<RepoRef, ForgeError> {
    inner.state().repo_ref(&format!("{owner}/{name}"))
}

/// Shows where to go in a repository.
pub(super) fn tabs(inner: &Inner, repo: &RepoRef) -> Markup {
    let (open, branches) = {
        let state = inner.state();
        state.repository(&repo.key).map_or((0, 0), |repository| {
            let branches = repository
                .refs
                .keys()
                .filter(|name| name.starts_with("refs/heads/"))
                .count();
            (repository.open_pulls().count(), branches)
        })
    };
    let name = &repo.full_name;
    html! {
        p {
            a href={ "/" (name) } { "Files" } " · "
            a href={ "/" (name) "/pulls" } { "Pull requests (" (open) " open)" } " · "
            a href={ "/" (name) "/branches" } { "Branches (" (branches) ")" } " · "
            a href={ "/" (name) "/commits/" (path_in_url(&repo.default_branch)) } { "Commits" }
        }
    }
}

/// `GET /{owner}/{repo}`
pub(super) async fn one(
    State(inner): State<Arc<Inner>>,
    Path((owner, name)): Path<(String, String)>,
) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let listing = match inner.git.resolve_name(&repo.dir, &repo.default_branch).await? {
        Some(commit) => entries(&inner, &repo, &repo.default_branch, &commit, "").await?,
        None => html! { p { "Nothing has been pushed yet." } },
    };
    let body = html! {
        h1 { (repo.full_name) }
        (tabs(&inner, &repo))
        p { "Clone it from " code { (inner.url()) "/" (repo.full_name) ".git" } }
        h2 { "Files on " (repo.default_branch) }
        (listing)
    };
    Ok(page(
        &repo.full_name,
        &[(&repo.full_name, format!("/{}", repo.full_name))],
        &body,
    ))
}

/// `GET /{owner}/{repo}/branches`
pub(super) async fn branches(
    State(inner): State<Arc<Inner>>,
    Path((owner, name)): Path<(String, String)>,
) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let branches: Vec<(String, String)> = inner
        .state()
        .repository(&repo.key)?
        .refs
        .iter()
        .filter_map(|(name, sha)| Some((name.strip_prefix("refs/heads/")?.to_owned(), sha.clone())))
        .collect();
    let body = html! {
        h1 { "Branches of " (repo.full_name) }
        (tabs(&inner, &repo))
        ul.list {
            @for (branch, sha) in &branches {
                li {
                    a href={ "/" (repo.full_name) "/tree/" (path_in_url(branch)) } { (branch) }
                    " " (commit_link(&repo.full_name, sha))
                }
            }
        }
    };
    Ok(page(
        "Branches",
        &[(&repo.full_name, format!("/{}", repo.full_name))],
        &body,
    ))
}

/// `GET /{owner}/{repo}/commits/{branch}`
pub(super) async fn commits(
    State(inner): State<Arc<Inner>>,
    Path((owner, name, rest)): Path<(String, String, String)>,
) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let (revision, commit, _) = split_revision(&inner, &repo, &rest).await?;
    let shas = inner.git.rev_list(&repo.dir, &[COMMITS, &commit]).await?;
    let commits = inner.git.commits(&repo.dir, &shas).await?;
    let body = html! {
        h1 { "Commits on " (revision) }
        (tabs(&inner, &repo))
        ul.list {
            @for commit in &commits {
                li {
                    (commit_link(&repo.full_name, &commit.sha)) " " (commit.subject())
                    br;
                    span.muted { (commit.author.name) ", " (commit.committer.when) }
                }
            }
        }
    };
    Ok(page(
        "Commits",
        &[(&repo.full_name, format!("/{}", repo.full_name))],
        &body,
    ))
}
