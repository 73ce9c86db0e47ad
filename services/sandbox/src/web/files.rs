//! Directories, files and commits.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use http::{HeaderValue, header};
use maud::{Markup, html};

use super::layout::{commit_link, diff};
use super::repositories::find;
use super::{PageAnswer, page};
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::git::is_oid;
use crate::shape::path_in_url;
use crate::state::RepoRef;

/// A larger file is not shown in the page.
const SHOWN_BYTES: usize = 512 * 1024;

type RestPath = Path<(String, String, String)>;

/// Splits `branch/with/slashes/and/a/path` into the revision, its commit and the path.
pub(super) async fn split_revision(
    inner: &Inner,
    repo: &RepoRef,
    rest: &str,
) -> Result<(String, String, String), ForgeError> {
    let rest = rest.trim_end_matches('/');
    let branch = {
        let state = inner.state();
        let repository = state.repository(&repo.key)?;
        repository
            .refs
            .keys()
            .filter_map(|name| {
                name.strip_prefix("refs/heads/")
                    .or_else(|| name.strip_prefix("refs/tags/"))
            })
            .filter(|name| {
                rest.strip_prefix(*name)
                    .is_some_and(|after| after.is_empty() || after.starts_with('/'))
            })
            .max_by_key(|name| name.len())
            .map(str::to_owned)
    };
    let revision = branch.unwrap_or_else(|| rest.split('/').next().unwrap_or_default().to_owned());
    let path = rest
        .strip_prefix(&revision)
        .unwrap_or_default()
        .trim_start_matches('/')
        .to_owned();
    let commit = inner
        .git
        .resolve_name(&repo.dir, &revision)
        .await?
        .ok_or_else(ForgeError::not_found)?;
    Ok((revision, commit, path))
}

/// Lists a directory.
pub(super) async fn entries(
    inner: &Inner,
    repo: &RepoRef,
    revision: &str,
    commit: &str,
    path: &str,
) -> Result<Markup, ForgeError> {
    let tree = inner.git.entry(&repo.dir, commit, path).await?;
    let tree = tree
        .filter(|tree| tree.kind == "tree")
        .ok_or_else(ForgeError::not_found)?;
    let mut entries = inner.git.ls_tree(&repo.dir, &tree.oid, false).await?;
    entries.sort_by_key(|entry| (entry.kind != "tree", entry.path.clone()));
    let base = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    Ok(html! {
        ul.list {
            @if let Some((parent, _)) = path.rsplit_once('/').or_else(|| (!path.is_empty()).then_some(("", path))) {
                li { a href=(address(repo, "tree", revision, parent)) { ".. (up)" } }
            }
            @for entry in &entries {
                @let below = format!("{base}{}", entry.path);
                @let kind = if entry.kind == "tree" { "tree" } else { "blob" };
                li {
                    a href=(address(repo, kind, revision, &below)) {
                        (entry.path) @if entry.kind == "tree" { "/" }
                    }
                    @match entry.mode.as_str() {
                        "100755" => { " " span.muted { "executable" } }
                        "120000" => { " " span.muted { "symbolic link" } }
                        "160000" => { " " span.muted { "submodule" } }
                        _ => {}
                    }
                }
            }
        }
    })
}

fn address(repo: &RepoRef, kind: &str, revision: &str, path: &str) -> String {
    let whole = format!("{revision}/{path}");
    format!(
        "/{}/{kind}/{}",
        repo.full_name,
        path_in_url(whole.trim_end_matches('/'))
    )
}

/// `GET /{owner}/{repo}/tree/{revision}/{path}`
pub(super) async fn tree(State(inner): State<Arc<Inner>>, Path((owner, name, rest)): RestPath) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let (revision, commit, path) = split_revision(&inner, &repo, &rest).await?;
    let listing = entries(&inner, &repo, &revision, &commit, &path).await?;
    let shown = if path.is_empty() { "Files" } else { path.as_str() };
    let body = html! {
        h1 { (shown) }
        p.muted { "On " (revision) " at " (commit_link(&repo.full_name, &commit)) }
        (listing)
    };
    Ok(page(
        shown,
        &[(&repo.full_name, format!("/{}", repo.full_name))],
        &body,
    ))
}

async fn read(inner: &Inner, repo: &RepoRef, commit: &str, path: &str) -> Result<Vec<u8>, ForgeError> {
    let entry = inner.git.entry(&repo.dir, commit, path).await?;
    let entry = entry
        .filter(|entry| entry.kind == "blob")
        .ok_or_else(ForgeError::not_found)?;
    Ok(inner.git.blob(&repo.dir, &entry.oid).await?)
}

/// `GET /{owner}/{repo}/blob/{revision}/{path}`
pub(super) async fn blob(State(inner): State<Arc<Inner>>, Path((owner, name, rest)): RestPath) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let (revision, commit, path) = split_revision(&inner, &repo, &rest).await?;
    let content = read(&inner, &repo, &commit, &path).await?;
    let text = String::from_utf8(content)
        .ok()
        .filter(|text| text.len() <= SHOWN_BYTES && !text.contains('\0'));
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let body = html! {
        h1 { (path) }
        p.muted {
            "On " (revision) " at " (commit_link(&repo.full_name, &commit)) " · "
            a href=(address(&repo, "tree", &revision, parent)) { "Directory" } " · "
            a href=(address(&repo, "raw", &revision, &path)) { "Raw" }
        }
        @match text {
            Some(text) => { pre tabindex="0" { (text) } }
            None => { p { "This file is too large to show, or it is not text." } }
        }
    };
    Ok(page(
        &path,
        &[(&repo.full_name, format!("/{}", repo.full_name))],
        &body,
    ))
}

/// `GET /{owner}/{repo}/raw/{revision}/{path}`
pub(super) async fn raw(State(inner): State<Arc<Inner>>, Path((owner, name, rest)): RestPath) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let (_, commit, path) = split_revision(&inner, &repo, &rest).await?;
    let content = read(&inner, &repo, &commit, &path).await?;
    // Always as text: a browser must not run what somebody pushed.
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; sandbox"),
        ),
    ];
    Ok((headers, content).into_response())
}

/// `GET /{owner}/{repo}/commit/{sha}`
pub(super) async fn commit(
    State(inner): State<Arc<Inner>>,
    Path((owner, name, sha)): RestPath,
) -> PageAnswer {
    let repo = find(&inner, &owner, &name)?;
    let found = if is_oid(&sha) {
        inner.git.resolve(&repo.dir, &sha).await?
    } else {
        None
    };
    let sha = found.ok_or_else(ForgeError::not_found)?;
    let commit = inner.git.commit(&repo.dir, &sha).await?;
    let text = match commit.parents.first() {
        Some(parent) => inner.git.diff_text(&repo.dir, parent, &sha).await?,
        None => String::new(),
    };
    let statuses = {
        let state = inner.state();
        super::pulls::statuses(state.repository(&repo.key)?, &sha)
    };
    let body = html! {
        h1 { (commit.subject()) }
        p.muted { (commit.author.name) ", " (commit.committer.when) }
        p {
            code { (commit.sha) }
            @for parent in &commit.parents { br; "Parent " (commit_link(&repo.full_name, parent)) }
            br; a href=(address(&repo, "tree", &sha, "")) { "Files at this commit" }
        }
        pre { (commit.message) }
        (statuses)
        h2 { "Changes" }
        @if commit.parents.is_empty() { p { "This is the first commit." } } @else { (diff(&text)) }
    };
    Ok(page(
        commit.subject(),
        &[(&repo.full_name, format!("/{}", repo.full_name))],
        &body,
    ))
}
