//! The git database: refs, commits, trees and blobs.

use axum::extract::Path;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::call::{Body, Call};
use super::{Answer, contents, created, no_content, ok};
use crate::auth::Need;
use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::git::commits::Signature;
use crate::git::objects::TreeEdit;
use crate::git::{ZERO_OID, is_oid};
use crate::ids::node_id;
use crate::operations::refs;
use crate::state::RepoRef;

type RepoPath = Path<(String, String)>;
type NamedPath = Path<(String, String, String)>;

fn unprocessable(message: impl Into<String>) -> ForgeError {
    ForgeError::Unprocessable(message.into())
}

async fn shaped_ref(call: &Call, repo: &RepoRef, name: &str, sha: &str) -> Result<Value, ForgeError> {
    let kind = call
        .inner
        .git
        .kind(&repo.dir, sha)
        .await?
        .unwrap_or_else(|| "commit".into());
    let state = call.inner.state();
    Ok(call
        .inner
        .shaper(&state)
        .git_ref(state.repository(&repo.key)?, name, sha, &kind))
}

/// `GET /repos/{owner}/{repo}/git/ref/{ref}`
pub(super) async fn get_ref(call: Call, Path((owner, repo, name)): NamedPath) -> Answer {
    let repo = call.repo(&owner, &repo, Need::READ_CONTENTS)?;
    let full = format!("refs/{}", name.trim_start_matches("refs/"));
    let all = call.inner.git.refs(&repo.dir, &full).await?;
    let sha = all.get(&full).ok_or_else(ForgeError::not_found)?;
    ok(&shaped_ref(&call, &repo, &full, sha).await?)
}

/// `GET /repos/{owner}/{repo}/git/matching-refs/{ref}`
pub(super) async fn matching_refs(call: Call, Path((owner, repo, name)): NamedPath) -> Answer {
    let repo = call.repo(&owner, &repo, Need::READ_CONTENTS)?;
    let start = format!("refs/{name}");
    let mut shapes = Vec::new();
    for (full, sha) in call.inner.git.refs(&repo.dir, "refs/").await? {
        if full.starts_with(&start) {
            shapes.push(shaped_ref(&call, &repo, &full, &sha).await?);
        }
    }
    ok(&shapes.into())
}

#[derive(Debug, Deserialize)]
pub(super) struct NewRef {
    r#ref: String,
    sha: String,
}

/// `POST /repos/{owner}/{repo}/git/refs`
pub(super) async fn create_ref(call: Call, Path((owner, repo)): RepoPath, Body(new): Body<NewRef>) -> Answer {
    let repo = call.repo(&owner, &repo, Need::WRITE_CONTENTS)?;
    let git = &call.inner.git;
    let well_formed = git
        .output(&repo.dir, &["check-ref-format", &new.r#ref], &[], None)
        .await?;
    let own = new.r#ref.starts_with("refs/") && !new.r#ref.starts_with("refs/pull/");
    if !own || new.r#ref.matches('/').count() < 2 || well_formed.code != Some(0) {
        return Err(unprocessable("Reference name is not valid"));
    }
    let present = if is_oid(&new.sha) {
        git.kind(&repo.dir, &new.sha).await?
    } else {
        None
    };
    if present.is_none() {
        return Err(unprocessable("Object does not exist"));
    }
    let _lane = repo.lane.lock().await;
    if git.refs(&repo.dir, &new.r#ref).await?.contains_key(&new.r#ref)
        || !git.update_ref(&repo.dir, &new.r#ref, &new.sha, ZERO_OID).await?
    {
        return Err(unprocessable("Reference already exists"));
    }
    refs::notice(&call.inner, &repo, &call.actor).await?;
    created(&shaped_ref(&call, &repo, &new.r#ref, &new.sha).await?)
}

#[derive(Debug, Deserialize)]
pub(super) struct RefMove {
    sha: String,
    #[serde(default)]
    force: bool,
}

/// `PATCH /repos/{owner}/{repo}/git/refs/{ref}`
pub(super) async fn update_ref(
    call: Call,
    Path((owner, repo, name)): NamedPath,
    Body(wanted): Body<RefMove>,
) -> Answer {
    let repo = call.repo(&owner, &repo, Need::WRITE_CONTENTS)?;
    let git = &call.inner.git;
    let full = format!("refs/{name}");
    let _lane = repo.lane.lock().await;
    let all = git.refs(&repo.dir, &full).await?;
    let before = all
        .get(&full)
        .ok_or_else(|| unprocessable("Reference does not exist"))?;
    let present = if is_oid(&wanted.sha) {
        git.kind(&repo.dir, &wanted.sha).await?
    } else {
        None
    };
    if present.is_none() {
        return Err(unprocessable("Object does not exist"));
    }
    if !wanted.force && !git.is_ancestor(&repo.dir, before, &wanted.sha).await? {
        return Err(unprocessable("Update is not a fast forward"));
    }
    if !git.update_ref(&repo.dir, &full, &wanted.sha, before).await? {
        return Err(ForgeError::Conflict("Reference cannot be updated".into()));
    }
    refs::notice(&call.inner, &repo, &call.actor).await?;
    ok(&shaped_ref(&call, &repo, &full, &wanted.sha).await?)
}

/// `DELETE /repos/{owner}/{repo}/git/refs/{ref}`
pub(super) async fn delete_ref(call: Call, Path((owner, repo, name)): NamedPath) -> Answer {
    let repo = call.repo(&owner, &repo, Need::WRITE_CONTENTS)?;
    let git = &call.inner.git;
    let full = format!("refs/{name}");
    let _lane = repo.lane.lock().await;
    let all = git.refs(&repo.dir, &full).await?;
    let before = all
        .get(&full)
        .ok_or_else(|| unprocessable("Reference does not exist"))?;
    if full == format!("refs/heads/{}", repo.default_branch) {
        return Err(unprocessable("Cannot delete the default branch"));
    }
    if !git.update_ref(&repo.dir, &full, ZERO_OID, before).await? {
        return Err(ForgeError::Conflict("Reference cannot be deleted".into()));
    }
    refs::notice(&call.inner, &repo, &call.actor).await?;
    no_content()
}

async fn commit_shape(call: &Call, repo: &RepoRef, sha: &str) -> Result<Value, ForgeError> {
    let commit = call.inner.git.commit(&repo.dir, sha).await?;
    let state = call.inner.state();
    Ok(call
        .inner
        .shaper(&state)
        .git_commit(state.repository(&repo.key)?, &commit))
}

/// `GET /repos/{owner}/{repo}/git/commits/{sha}`
pub(super) async fn get_commit(call: Call, Path((owner, repo, sha)): NamedPath) -> Answer {
    let repo = call.repo(&owner, &repo, Need::READ_CONTENTS)?;
    let found = if is_oid(&sha) {
        call.inner.git.resolve(&repo.dir, &sha).await?
    } else {
        None
    };
    let found = found
        .filter(|found| *found == sha)
        .ok_or_else(ForgeError::not_found)?;
    ok(&commit_shape(&call, &repo, &found).await?)
}

#[derive(Debug, Deserialize)]
struct Person {
    name: String,
    email: String,
    date: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NewCommit {
    message: String,
    tree: String,
    #[serde(default)]
    parents: Vec<String>,
    author: Option<Person>,
    committer: Option<Person>,
}

fn signature(person: &Person) -> Result<Signature, ForgeError> {
    let when = match &person.date {
        None => Timestamp::now(),
        Some(text) => Timestamp::parse(text)
            .ok_or_else(|| unprocessable("Invalid request.\n\ndate is not a timestamp"))?,
    };
    Ok(Signature {
        name: person.name.clone(),
        email: person.email.clone(),
        when,
    })
}

/// `POST /repos/{owner}/{repo}/git/commits`
pub(super) async fn create_commit(
    call: Call,
    Path((owner, repo)): RepoPath,
    Body(new): Body<NewCommit>,
) -> Answer {
    let repo = call.repo(&owner, &repo, Need::WRITE_CONTENTS)?;
    let git = &call.inner.git;
    let is = async |oid: &str, kind: &str| -> Result<bool, ForgeError> {
        Ok(is_oid(oid) && git.kind(&repo.dir, oid).await?.as_deref() == Some(kind))
    };
    if !is(&new.tree, "tree").await? {
        return Err(unprocessable("Tree SHA does not exist"));
    }
    for parent in &new.parents {
        if !is(parent, "commit").await? {
            return Err(unprocessable(
                "Parent SHA does not exist or is not a commit object",
            ));
        }
    }
    let user = call.inner.state().user(call.actor.login());
    let author = match &new.author {
        Some(person) => signature(person)?,
        None => Signature::now(&user.login, user.email()),
    };
    let committer = new
        .committer
        .as_ref()
        .map(signature)
        .transpose()?
        .unwrap_or_else(|| author.clone());
    let parents: Vec<&str> = new.parents.iter().map(String::as_str).collect();
    let sha = git
        .make_commit(&repo.dir, &new.tree, &parents, &new.message, &author, &committer)
        .await?;
    created(&commit_shape(&call, &repo, &sha).await?)
}

#[derive(Debug, Deserialize)]
struct TreeQuery {
    recursive: Option<String>,
}

/// `GET /repos/{owner}/{repo}/git/trees/{sha}`
pub(super) async fn get_tree(call: Call, Path((owner, repo, name)): NamedPath) -> Answer {
    let repo = call.repo(&owner, &repo, Need::READ_CONTENTS)?;
    let git = &call.inner.git;
    let kind = if is_oid(&name) {
        git.kind(&repo.dir, &name).await?
    } else {
        None
    };
    let tree = match kind.as_deref() {
        Some("tree") => name,
        Some("blob") => return Err(ForgeError::not_found()),
        _ => {
            let commit = git
                .resolve_name(&repo.dir, &name)
                .await?
                .ok_or_else(ForgeError::not_found)?;
            git.commit(&repo.dir, &commit).await?.tree
        }
    };
    // Any value switches it on, even 0 and false.
    let recursive = call.query::<TreeQuery>()?.recursive.is_some();
    let mut entries = git.ls_tree(&repo.dir, &tree, recursive).await?;
    let limits = &call.inner.options.limits;
    let mut bytes = 0;
    let fitting = entries
        .iter()
        .take(limits.tree_entries)
        .take_while(|entry| {
            bytes += entry.path.len() + entry.mode.len() + entry.oid.len() + 60;
            bytes <= limits.tree_bytes
        })
        .count();
    let truncated = recursive && fitting < entries.len();
    if truncated {
        entries.truncate(fitting);
    }
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let shapes: Vec<Value> = entries
        .iter()
        .map(|entry| shaper.tree_entry(repository, entry))
        .collect();
    ok(&tree_shape(&call, &repo, &tree, shapes, truncated))
}

fn tree_shape(call: &Call, repo: &RepoRef, tree: &str, entries: Vec<Value>, truncated: bool) -> Value {
    json!({
        "sha": tree,
        "url": format!("{}/repos/{}/git/trees/{tree}", call.inner.api_url(), repo.full_name),
        "tree": entries,
        "truncated": truncated,
    })
}

/// Tells a field that is `null` from one that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize)]
struct NewEntry {
    path: String,
    mode: Option<String>,
    #[serde(default, deserialize_with = "present")]
    sha: Option<Option<String>>,
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NewTree {
    tree: Vec<NewEntry>,
    base_tree: Option<String>,
}

/// `POST /repos/{owner}/{repo}/git/trees`
pub(super) async fn create_tree(
    call: Call,
    Path((owner, repo)): RepoPath,
    Body(new): Body<NewTree>,
) -> Answer {
    const MODES: [&str; 5] = ["100644", "100755", "040000", "160000", "120000"];
    let repo = call.repo(&owner, &repo, Need::WRITE_CONTENTS)?;
    let git = &call.inner.git;
    if let Some(base) = &new.base_tree
        && (!is_oid(base) || git.kind(&repo.dir, base).await?.is_none())
    {
        return Err(unprocessable("base_tree is not a valid tree oid"));
    }
    let mut edits = Vec::with_capacity(new.tree.len());
    for entry in new.tree {
        let bad = entry
            .path
            .split('/')
            .any(|part| matches!(part, "" | "." | ".." | ".git"));
        if bad || entry.path.contains('\0') {
            return Err(unprocessable("tree.path contains a malformed path component"));
        }
        let mode = entry.mode.unwrap_or_default();
        let object = match (entry.sha, entry.content) {
            (Some(None), _) => None,
            (None, Some(content)) => Some(git.make_blob(&repo.dir, content.into_bytes()).await?),
            (Some(Some(sha)), None) => {
                let known = mode == "160000" || (is_oid(&sha) && git.kind(&repo.dir, &sha).await?.is_some());
                if !known {
                    return Err(unprocessable(format!("tree.sha {sha} is not a valid blob")));
                }
                Some(sha)
            }
            _ => return Err(unprocessable("Must supply either tree.sha or tree.content")),
        };
        if object.is_some() && !MODES.contains(&mode.as_str()) {
            return Err(unprocessable("Must supply a valid tree.mode"));
        }
        edits.push(TreeEdit {
            path: entry.path,
            entry: object.map(|object| (mode, object)),
        });
    }
    let tree = git.make_tree(&repo.dir, new.base_tree.as_deref(), &edits).await?;
    let entries = git.ls_tree(&repo.dir, &tree, false).await?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let repository = state.repository(&repo.key)?;
    let shapes: Vec<Value> = entries
        .iter()
        .map(|entry| shaper.tree_entry(repository, entry))
        .collect();
    created(&tree_shape(&call, &repo, &tree, shapes, false))
}

#[derive(Debug, Deserialize)]
pub(super) struct NewBlob {
    content: String,
    encoding: Option<String>,
}

/// `POST /repos/{owner}/{repo}/git/blobs`
pub(super) async fn create_blob(
    call: Call,
    Path((owner, repo)): RepoPath,
    Body(new): Body<NewBlob>,
) -> Answer {
    let repo = call.repo(&owner, &repo, Need::WRITE_CONTENTS)?;
    let content = match new.encoding.as_deref() {
        Some("base64") => {
            let joined: String = new.content.split_whitespace().collect();
            STANDARD
                .decode(joined)
                .map_err(|_bad| unprocessable("content is not valid Base64"))?
        }
        _ => new.content.into_bytes(),
    };
    let sha = call.inner.git.make_blob(&repo.dir, content).await?;
    created(&json!({"url": blob_url(&call, &repo, &sha), "sha": sha}))
}

fn blob_url(call: &Call, repo: &RepoRef, sha: &str) -> String {
    format!(
        "{}/repos/{}/git/blobs/{sha}",
        call.inner.api_url(),
        repo.full_name
    )
}

/// `GET /repos/{owner}/{repo}/git/blobs/{sha}`
pub(super) async fn get_blob(call: Call, Path((owner, repo, sha)): NamedPath) -> Answer {
    let repo = call.repo(&owner, &repo, Need::READ_CONTENTS)?;
    let kind = if is_oid(&sha) {
        call.inner.git.kind(&repo.dir, &sha).await?
    } else {
        None
    };
    if kind.as_deref() != Some("blob") {
        return Err(ForgeError::not_found());
    }
    let content = call.inner.git.blob(&repo.dir, &sha).await?;
    if call.wants("raw") {
        return Ok(([(header::CONTENT_TYPE, "application/vnd.github.raw")], content).into_response());
    }
    ok(&json!({
        "sha": sha,
        "node_id": node_id("B", repo.id),
        "size": content.len(),
        "url": blob_url(&call, &repo, &sha),
        "content": contents::in_lines(&content),
        "encoding": "base64",
    }))
}
