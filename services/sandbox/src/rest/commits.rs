//! Commits and comparisons.

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::header;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::pipeline::RouteName;
use super::{Answer, checks, ok, pulls, statuses};
use crate::auth::Need;
use crate::error::ForgeError;
use crate::operations::pull_requests;
use crate::shape::path_in_url;
use crate::state::RepoRef;

type NamedPath = Path<(String, String, String)>;

/// Files of a commit on one page.
const FILES_PER_PAGE: usize = 300;

/// `GET /repos/{owner}/{repo}/commits/{ref}`, and what lies below it: a ref may contain slashes itself.
pub(super) async fn dispatch(call: Call, Path((owner, name, rest)): NamedPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::METADATA)?;
    let (reference, below) = match rest.rsplit_once('/') {
        Some((reference, below @ ("status" | "statuses" | "check-runs" | "pulls"))) => (reference, below),
        _ => (rest.as_str(), ""),
    };
    let found = call.inner.git.resolve_name(&repo.dir, reference).await?;
    let sha = found.ok_or_else(|| match below {
        "" => ForgeError::Unprocessable(format!("No commit found for SHA: {reference}")),
        "pulls" => ForgeError::Unprocessable(format!("No commit found for SHA: {reference}")),
        _ => ForgeError::not_found(),
    })?;
    let (route, mut answer) = match below {
        "status" => ("/commits/{ref}/status", statuses::combined(&call, &repo, &sha)?),
        "statuses" => ("/commits/{ref}/statuses", statuses::list(&call, &repo, &sha)?),
        "check-runs" => (
            "/commits/{ref}/check-runs",
            checks::of_commit(&call, &repo, &sha)?,
        ),
        "pulls" => {
            call.repo(&owner, &name, Need::READ_PULLS)?;
            (
                "/commits/{commit_sha}/pulls",
                pulls::of_commit(&call, &repo, &sha).await?,
            )
        }
        _ => {
            call.repo(&owner, &name, Need::READ_CONTENTS)?;
            ("/commits/{ref}", one(&call, &repo, &sha).await?)
        }
    };
    answer.extensions_mut().insert(RouteName(route));
    Ok(answer)
}

async fn one(call: &Call, repo: &RepoRef, sha: &str) -> Result<Response, ForgeError> {
    let git = &call.inner.git;
    let commit = git.commit(&repo.dir, sha).await?;
    let parent = commit.parents.first().map(String::as_str);
    let mut files = git.diff(&repo.dir, parent, sha, true).await?;
    let additions: u64 = files.iter().map(|file| file.additions).sum();
    let deletions: u64 = files.iter().map(|file| file.deletions).sum();
    files.truncate(call.inner.options.limits.pull_request_files);
    let page = call.page()?;
    let on_page = if page.is_asked_for() {
        page.cut(&files)
    } else {
        files.get(..FILES_PER_PAGE).unwrap_or(&files)
    };
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let mut shape = shaper.commit(repository, &commit);
    let told: Vec<Value> = on_page
        .iter()
        .map(|file| shaper.file(repository, file, sha))
        .collect();
    shape["stats"] = json!({"total": additions + deletions, "additions": additions, "deletions": deletions});
    shape["files"] = told.into();
    let answer = ok(&shape)?;
    Ok(if page.is_asked_for() {
        page.link(answer, &call.address(), files.len())
    } else {
        answer
    })
}

#[derive(Debug, Deserialize)]
struct Start {
    sha: Option<String>,
    path: Option<String>,
}

/// `GET /repos/{owner}/{repo}/commits`
pub(super) async fn list(call: Call, Path((owner, name)): Path<(String, String)>) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_CONTENTS)?;
    let page = call.page()?;
    let start: Start = call.query()?;
    let git = &call.inner.git;
    let from = start.sha.unwrap_or_else(|| repo.default_branch.clone());
    let Some(tip) = git.resolve_name(&repo.dir, &from).await? else {
        if call.inner.state().repository(&repo.key)?.refs.is_empty() {
            return Err(ForgeError::Conflict("Git Repository is empty.".into()));
        }
        return Err(ForgeError::not_found());
    };
    let shas = match &start.path {
        None => git.rev_list(&repo.dir, &[&tip]).await?,
        Some(path) => {
            let literal = [("GIT_LITERAL_PATHSPECS", "1".into())];
            let output = git
                .run_with(&repo.dir, &["rev-list", &tip, "--", path], &literal, None)
                .await?;
            output.text().lines().map(str::to_owned).collect()
        }
    };
    let commits = git.commits(&repo.dir, page.cut(&shas)).await?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let shapes: Vec<Value> = commits
        .iter()
        .map(|commit| shaper.commit(repository, commit))
        .collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), shas.len()))
}

/// `GET /repos/{owner}/{repo}/compare/{basehead}`
pub(super) async fn compare(call: Call, Path((owner, name, basehead)): NamedPath) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_CONTENTS)?;
    let git = &call.inner.git;
    let (base_name, head_name) = basehead.split_once("...").ok_or_else(ForgeError::not_found)?;
    let own = |name: &str| -> Option<String> {
        match name.split_once(':') {
            Some((owner, branch)) => owner.eq_ignore_ascii_case(&repo.owner).then(|| branch.to_owned()),
            None => Some(name.to_owned()),
        }
    };
    let base_ref = own(base_name).ok_or_else(ForgeError::not_found)?;
    let head_ref = own(head_name).ok_or_else(ForgeError::not_found)?;
    let base = git
        .resolve_name(&repo.dir, &base_ref)
        .await?
        .ok_or_else(ForgeError::not_found)?;
    let head = git
        .resolve_name(&repo.dir, &head_ref)
        .await?
        .ok_or_else(ForgeError::not_found)?;
    let comparison = pull_requests::compare(&call.inner, &repo, &base, &head).await?;
    let parted = comparison.merge_base.clone().ok_or_else(|| {
        ForgeError::NotFound(format!("No common ancestor between {base_name} and {head_name}."))
    })?;
    if call.wants("diff") {
        let text = git.diff_text(&repo.dir, &parted, &head).await?;
        let media = "application/vnd.github.diff; charset=utf-8";
        return Ok(([(header::CONTENT_TYPE, media)], text).into_response());
    }
    let behind = format!("^{head}");
    let behind = git.rev_list(&repo.dir, &[&base, &behind]).await?.len();
    let ahead = comparison.commits.len();
    let status = match (ahead, behind) {
        (0, 0) => "identical",
        (_, 0) => "ahead",
        (0, _) => "behind",
        _ => "diverged",
    };
    let limits = &call.inner.options.limits;
    let page = call.page()?;
    // Without pages the newest commits are left out; with pages each has its own, the files are on the first.
    let shas = if page.is_asked_for() {
        page.cut(&comparison.commits)
    } else {
        comparison
            .commits
            .get(..limits.compare_commits)
            .unwrap_or(&comparison.commits)
    };
    let files = if page.number() == 1 {
        let mut files = git.diff(&repo.dir, Some(&parted), &head, true).await?;
        files.truncate(limits.compare_files);
        files
    } else {
        Vec::new()
    };
    let commits = git.commits(&repo.dir, shas).await?;
    let ends = git.commits(&repo.dir, &[base, parted]).await?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let range = path_in_url(&basehead);
    let web = format!("{}/{}/compare/{range}", call.inner.url(), repo.full_name);
    let shaped: Vec<Value> = commits
        .iter()
        .map(|commit| shaper.commit(repository, commit))
        .collect();
    let told: Vec<Value> = files
        .iter()
        .map(|file| shaper.file(repository, file, &head))
        .collect();
    let ends: Vec<Value> = ends
        .iter()
        .map(|commit| shaper.commit(repository, commit))
        .collect();
    let shape = json!({
        "url": format!("{}/repos/{}/compare/{range}", call.inner.api_url(), repo.full_name),
        "html_url": web,
        "permalink_url": web,
        "diff_url": format!("{web}.diff"),
        "patch_url": format!("{web}.patch"),
        "base_commit": ends.first(),
        "merge_base_commit": ends.last(),
        "status": status,
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": shaped,
        "files": told,
    });
    let answer = ok(&shape)?;
    Ok(if page.is_asked_for() {
        page.link(answer, &call.address(), ahead)
    } else {
        answer
    })
}
