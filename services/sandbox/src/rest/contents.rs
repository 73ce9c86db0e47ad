//! Files and directories.

use axum::extract::Path;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header;
use serde::Deserialize;
use serde_json::Value;

use super::call::Call;
use super::{Answer, ok};
use crate::auth::Need;
use crate::error::ForgeError;
use crate::git::objects::TreeEntry;
use crate::state::RepoRef;

/// A larger file has no content in JSON.
const CONTENT_BYTES: u64 = 1024 * 1024;
/// A larger file is not served at all.
const LARGEST_BYTES: u64 = 100 * 1024 * 1024;

#[derive(Debug, Deserialize)]
struct Query {
    r#ref: Option<String>,
}

/// `GET /repos/{owner}/{repo}/contents`
pub(super) async fn root(call: Call, Path((owner, name)): Path<(String, String)>) -> Answer {
    read(call, owner, name, String::new()).await
}

/// `GET /repos/{owner}/{repo}/contents/{path}`
pub(super) async fn get(call: Call, Path((owner, name, path)): Path<(String, String, String)>) -> Answer {
    read(call, owner, name, path).await
}

async fn read(call: Call, owner: String, name: String, path: String) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_CONTENTS)?;
    let query: Query = call.query()?;
    let revision = query.r#ref.unwrap_or_else(|| repo.default_branch.clone());
    let git = &call.inner.git;
    let Some(commit) = git.resolve_name(&repo.dir, &revision).await? else {
        let empty = call.inner.state().repository(&repo.key)?.refs.is_empty();
        let message = if empty {
            "This repository is empty.".into()
        } else {
            format!("No commit found for the ref {revision}")
        };
        return Err(ForgeError::NotFound(message));
    };
    let path = path.trim_matches('/');
    let found = git
        .entry(&repo.dir, &commit, path)
        .await?
        .ok_or_else(ForgeError::not_found)?;
    if found.kind == "tree" {
        return directory(&call, &repo, &found, &revision).await;
    }
    let mut shape = {
        let state = call.inner.state();
        call.inner
            .shaper(&state)
            .content(state.repository(&repo.key)?, &found, &revision)
    };
    if found.kind == "commit" {
        shape["submodule_git_url"] = submodule_url(&call, &repo, &commit, path)
            .await?
            .unwrap_or_default()
            .into();
        return ok(&shape);
    }
    if found.is_symlink() {
        let target = String::from_utf8_lossy(&git.blob(&repo.dir, &found.oid).await?).into_owned();
        // A link to a plain file in the repository is answered with that file, as on GitHub.
        let followed = match resolve_link(path, &target) {
            Some(target) => git.entry(&repo.dir, &commit, &target).await?,
            None => None,
        };
        return match followed.filter(|entry| entry.kind == "blob" && !entry.is_symlink()) {
            Some(followed) => file(&call, &repo, &followed, shape, "file").await,
            None => {
                shape["target"] = target.into();
                ok(&shape)
            }
        };
    }
    file(&call, &repo, &found, shape, "file").await
}

async fn directory(call: &Call, repo: &RepoRef, tree: &TreeEntry, revision: &str) -> Answer {
    let mut entries = call.inner.git.ls_tree(&repo.dir, &tree.oid, false).await?;
    // More than the limit are left out without a word: a client that does not know takes them for deleted.
    entries.truncate(call.inner.options.limits.directory_entries);
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let shapes: Vec<Value> = entries
        .into_iter()
        .map(|mut entry| {
            if !tree.path.is_empty() {
                entry.path = format!("{}/{}", tree.path, entry.path);
            }
            let mut shape = shaper.content(repository, &entry, revision);
            if entry.kind == "commit" {
                // In a listing GitHub calls a submodule a file, for old clients.
                shape["type"] = "file".into();
            }
            shape
        })
        .collect();
    ok(&shapes.into())
}

async fn file(call: &Call, repo: &RepoRef, entry: &TreeEntry, mut shape: Value, kind: &str) -> Answer {
    let size = entry.size.unwrap_or(0);
    if size > LARGEST_BYTES {
        return Err(ForgeError::Forbidden(
            "This API returns blobs up to 100 MB in size. The requested blob is too large to fetch via the API."
                .into(),
        ));
    }
    if call.wants("raw") {
        let content = call.inner.git.blob(&repo.dir, &entry.oid).await?;
        let media = "application/vnd.github.raw; charset=utf-8";
        return Ok(([(header::CONTENT_TYPE, media)], content).into_response());
    }
    let (encoding, content) = if size > CONTENT_BYTES {
        ("none", String::new())
    } else {
        (
            "base64",
            in_lines(&call.inner.git.blob(&repo.dir, &entry.oid).await?),
        )
    };
    shape["type"] = kind.into();
    shape["sha"] = entry.oid.as_str().into();
    shape["size"] = size.into();
    shape["encoding"] = encoding.into();
    shape["content"] = content.into();
    ok(&shape)
}

/// Encodes in lines of 60 characters, as GitHub does.
pub(super) fn in_lines(content: &[u8]) -> String {
    let encoded = STANDARD.encode(content);
    let mut text = String::with_capacity(encoded.len() + encoded.len() / 60 + 1);
    for line in encoded.as_bytes().chunks(60) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text
}

/// Returns the path that a link leads to, or nothing where it leads out of the repository.
fn resolve_link(path: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut segments: Vec<&str> = path.split('/').collect();
    segments.pop();
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop()?;
            }
            name => segments.push(name),
        }
    }
    Some(segments.join("/"))
}

/// Reads the address of a submodule from `.gitmodules`.
async fn submodule_url(
    call: &Call,
    repo: &RepoRef,
    commit: &str,
    path: &str,
) -> Result<Option<String>, ForgeError> {
    let git = &call.inner.git;
    let Some(modules) = git.entry(&repo.dir, commit, ".gitmodules").await? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&git.blob(&repo.dir, &modules.oid).await?).into_owned();
    let (mut here, mut url) = (false, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            if here && url.is_some() {
                break;
            }
            (here, url) = (false, None);
        } else if let Some((key, value)) = line.split_once('=') {
            match key.trim() {
                "path" => here = value.trim() == path,
                "url" => url = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    Ok(url.filter(|_| here))
}

#[cfg(test)]
mod tests {
    use super::resolve_link;

    #[test]
    fn a_link_is_followed_inside_the_repository_only() {
        assert_eq!(resolve_link("a/b/link", "../c/./d").as_deref(), Some("a/c/d"));
        assert_eq!(resolve_link("link", "x").as_deref(), Some("x"));
        assert_eq!(resolve_link("a/link", "../../x"), None);
        assert_eq!(resolve_link("a/link", "/etc/passwd"), None);
    }
}
