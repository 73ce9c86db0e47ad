//! Commits, trees, diffs, statuses and checks.

use serde_json::{Map, Value, json};

use super::{Shaper, path_in_url};
use crate::git::commits::{Commit, Signature};
use crate::git::diff::{FileChange, Touched};
use crate::git::objects::TreeEntry;
use crate::ids::node_id;
use crate::model::{CheckAnnotation, CheckRun, Status, User};
use crate::state::Repository;

fn who(signature: &Signature) -> Value {
    json!({"name": signature.name, "email": signature.email, "date": signature.when})
}

fn unverified() -> Value {
    json!({"verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null})
}

impl Shaper<'_> {
    /// Finds the account that an address in a commit belongs to: GitHub's no-reply address names it.
    fn account_of(&self, signature: &Signature) -> Option<&User> {
        let local = signature.email.strip_suffix("@users.noreply.github.com")?;
        let login = local.split_once('+').map_or(local, |(_, login)| login);
        self.state.users.get(&login.to_lowercase())
    }

    /// Shapes a commit as the repository API gives it, without its files.
    pub(crate) fn commit(&self, repository: &Repository, commit: &Commit) -> Value {
        let url = self.repo_url(repository);
        let page = self.repo_page(repository);
        let account = |signature| {
            self.account_of(signature)
                .map_or(Value::Null, |user| self.account(user))
        };
        json!({
            "url": format!("{url}/commits/{}", commit.sha),
            "sha": commit.sha,
            "node_id": format!("C_{}", commit.sha),
            "html_url": format!("{page}/commit/{}", commit.sha),
            "comments_url": format!("{url}/commits/{}/comments", commit.sha),
            "commit": {
                "url": format!("{url}/git/commits/{}", commit.sha),
                "author": who(&commit.author),
                "committer": who(&commit.committer),
                "message": commit.message,
                "comment_count": 0,
                "tree": {"sha": commit.tree, "url": format!("{url}/git/trees/{}", commit.tree)},
                "verification": unverified(),
            },
            "author": account(&commit.author),
            "committer": account(&commit.committer),
            "parents": self.parents(repository, commit, "commits"),
        })
    }

    fn parents(&self, repository: &Repository, commit: &Commit, kind: &str) -> Vec<Value> {
        let url = self.repo_url(repository);
        let page = self.repo_page(repository);
        commit
            .parents
            .iter()
            .map(|sha| {
                json!({
                    "sha": sha,
                    "url": format!("{url}/{kind}/{sha}"),
                    "html_url": format!("{page}/commit/{sha}"),
                })
            })
            .collect()
    }

    /// Shapes a commit as the git database API gives it.
    pub(crate) fn git_commit(&self, repository: &Repository, commit: &Commit) -> Value {
        let url = self.repo_url(repository);
        json!({
            "sha": commit.sha,
            "node_id": format!("C_{}", commit.sha),
            "url": format!("{url}/git/commits/{}", commit.sha),
            "html_url": format!("{}/commit/{}", self.repo_page(repository), commit.sha),
            "author": who(&commit.author),
            "committer": who(&commit.committer),
            "message": commit.message,
            "tree": {"sha": commit.tree, "url": format!("{url}/git/trees/{}", commit.tree)},
            "parents": self.parents(repository, commit, "git/commits"),
            "verification": unverified(),
        })
    }

    /// Shapes a commit as a push event lists it.
    pub(crate) fn push_commit(&self, repository: &Repository, commit: &Commit, touched: &Touched) -> Value {
        let name = |signature: &Signature| {
            let mut fields = Map::new();
            fields.insert("name".into(), signature.name.as_str().into());
            fields.insert("email".into(), signature.email.as_str().into());
            if let Some(user) = self.account_of(signature) {
                fields.insert("username".into(), user.login.as_str().into());
            }
            Value::from(fields)
        };
        json!({
            "id": commit.sha,
            "tree_id": commit.tree,
            "distinct": true,
            "message": commit.message,
            "timestamp": commit.committer.when,
            "url": format!("{}/commit/{}", self.repo_page(repository), commit.sha),
            "author": name(&commit.author),
            "committer": name(&commit.committer),
            "added": touched.added,
            "removed": touched.removed,
            "modified": touched.modified,
        })
    }

    /// Shapes a changed file.
    pub(crate) fn file(&self, repository: &Repository, file: &FileChange, head: &str) -> Value {
        let path = path_in_url(&file.path);
        let page = self.repo_page(repository);
        let mut shape = json!({
            "sha": file.oid,
            "filename": file.path,
            "status": file.status,
            "additions": file.additions,
            "deletions": file.deletions,
            "changes": file.additions + file.deletions,
            "blob_url": format!("{page}/blob/{head}/{path}"),
            "raw_url": format!("{page}/raw/{head}/{path}"),
            "contents_url": format!("{}/contents/{path}?ref={head}", self.repo_url(repository)),
        });
        if let Some(patch) = &file.patch {
            shape["patch"] = patch.as_str().into();
        }
        if let Some(previous) = &file.previous {
            shape["previous_filename"] = previous.as_str().into();
        }
        shape
    }

    /// Shapes a ref.
    pub(crate) fn git_ref(&self, repository: &Repository, name: &str, sha: &str, kind: &str) -> Value {
        let url = self.repo_url(repository);
        json!({
            "ref": name,
            "node_id": format!("REF_{}_{name}", repository.id),
            "url": format!("{url}/git/{}", path_in_url(name)),
            "object": {"type": kind, "sha": sha, "url": format!("{url}/git/{kind}s/{sha}")},
        })
    }

    /// Shapes one line of a tree.
    pub(crate) fn tree_entry(&self, repository: &Repository, entry: &TreeEntry) -> Value {
        let url = self.repo_url(repository);
        let mut shape = json!({
            "path": entry.path,
            "mode": entry.mode,
            "type": entry.kind,
            "sha": entry.oid,
        });
        if let Some(size) = entry.size {
            shape["size"] = size.into();
        }
        match entry.kind.as_str() {
            "blob" => shape["url"] = format!("{url}/git/blobs/{}", entry.oid).into(),
            "tree" => shape["url"] = format!("{url}/git/trees/{}", entry.oid).into(),
            // A submodule's commit lies in another repository.
            _ => {}
        }
        shape
    }

    /// Shapes what the contents API says of every kind of entry; the caller adds what belongs to its kind.
    pub(crate) fn content(&self, repository: &Repository, entry: &TreeEntry, revision: &str) -> Value {
        let url = self.repo_url(repository);
        let page = self.repo_page(repository);
        let path = path_in_url(&entry.path);
        let own = format!("{url}/contents/{path}?ref={revision}");
        let (kind, git, html, download) = match entry.kind.as_str() {
            "tree" => ("dir", format!("{url}/git/trees/{}", entry.oid), "tree", None),
            "commit" => (
                "submodule",
                format!("{url}/git/trees/{}", entry.oid),
                "tree",
                None,
            ),
            _ => (
                if entry.is_symlink() { "symlink" } else { "file" },
                format!("{url}/git/blobs/{}", entry.oid),
                "blob",
                Some(format!("{page}/raw/{revision}/{path}")),
            ),
        };
        let html = format!("{page}/{html}/{revision}/{path}");
        json!({
            "type": kind,
            "name": entry.name(),
            "path": entry.path,
            "sha": entry.oid,
            "size": entry.size.unwrap_or(0),
            "url": own,
            "git_url": git,
            "html_url": html,
            "download_url": download,
            "_links": {"self": own, "git": git, "html": html},
        })
    }

    /// Shapes a status as setting it answers.
    pub(crate) fn status(&self, repository: &Repository, status: &Status) -> Value {
        let mut shape = self.simple_status(repository, status);
        shape["creator"] = self.user(&status.creator);
        shape
    }

    /// Shapes a status as the combined status lists it.
    pub(crate) fn simple_status(&self, repository: &Repository, status: &Status) -> Value {
        let creator = self.state.user(&status.creator);
        json!({
            "url": format!("{}/statuses/{}", self.repo_url(repository), status.sha),
            "avatar_url": format!("{}/avatars/u/{}", self.web, creator.id),
            "id": status.id,
            "node_id": node_id("SC", status.id),
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": status.created_at,
            "updated_at": status.created_at,
        })
    }

    /// Shapes the combined status of a commit, with one page of its statuses.
    pub(crate) fn combined_status(
        &self,
        repository: &Repository,
        sha: &str,
        page: &[&Status],
        total: &[&Status],
    ) -> Value {
        let has = |wanted: &[&str]| total.iter().any(|status| wanted.contains(&status.state.as_str()));
        let state = if has(&["error", "failure"]) {
            "failure"
        } else if total.is_empty() || has(&["pending"]) {
            "pending"
        } else {
            "success"
        };
        let url = self.repo_url(repository);
        let statuses: Vec<Value> = page
            .iter()
            .map(|status| self.simple_status(repository, status))
            .collect();
        json!({
            "state": state,
            "statuses": statuses,
            "sha": sha,
            "total_count": total.len(),
            "repository": self.repository(repository),
            "commit_url": format!("{url}/commits/{sha}"),
            "url": format!("{url}/commits/{sha}/status"),
        })
    }

    /// Fills in the body of a `status` event.
    pub(crate) fn status_event(
        &self,
        repository: &Repository,
        status: &Status,
        commit: &Commit,
        body: &mut Map<String, Value>,
    ) {
        let mut shaped = self.commit(repository, commit);
        for name in ["author", "committer"] {
            if shaped[name].is_null() {
                shaped[name] = json!({});
            }
        }
        let branches: Vec<Value> = repository
            .refs
            .iter()
            .filter(|(_, sha)| **sha == status.sha)
            .filter_map(|(name, _)| name.strip_prefix("refs/heads/"))
            .map(|name| self.short_branch(repository, name, &status.sha))
            .collect();
        for (name, value) in [
            ("id", status.id.into()),
            ("sha", status.sha.as_str().into()),
            ("name", repository.full_name().into()),
            (
                "avatar_url",
                format!("{}/avatars/u/{}", self.web, self.state.user(&status.creator).id).into(),
            ),
            ("target_url", status.target_url.clone().into()),
            ("context", status.context.as_str().into()),
            ("description", status.description.clone().into()),
            ("state", status.state.as_str().into()),
            ("commit", shaped),
            ("branches", branches.into()),
            ("created_at", status.created_at.to_string().into()),
            ("updated_at", status.created_at.to_string().into()),
        ] {
            body.insert(name.into(), value);
        }
    }

    /// Shapes a check run.
    pub(crate) fn check_run(&self, repository: &Repository, run: &CheckRun) -> Value {
        let url = format!("{}/check-runs/{}", self.repo_url(repository), run.id);
        let page = format!("{}/runs/{}", self.repo_page(repository), run.id);
        json!({
            "id": run.id,
            "head_sha": run.head_sha,
            "node_id": node_id("CR", run.id),
            "external_id": run.external_id.as_deref().unwrap_or_default(),
            "url": url,
            "html_url": page,
            "details_url": run.details_url.as_deref().unwrap_or(&page),
            "status": run.status,
            "conclusion": run.conclusion,
            "started_at": run.started_at,
            "completed_at": run.completed_at,
            "output": {
                "title": run.title,
                "summary": run.summary,
                "text": run.text,
                "annotations_count": run.annotations.len(),
                "annotations_url": format!("{url}/annotations"),
            },
            "name": run.name,
            "check_suite": {"id": run.id},
            "app": run.app.and_then(|app| self.state.apps.get(&app)).map(|app| self.app(app)),
            "pull_requests": [],
        })
    }

    /// Shapes a remark of a check run.
    pub(crate) fn check_annotation(
        &self,
        repository: &Repository,
        run: &CheckRun,
        annotation: &CheckAnnotation,
    ) -> Value {
        let path = path_in_url(&annotation.path);
        json!({
            "path": annotation.path,
            "blob_href": format!("{}/contents/{path}?ref={}", self.repo_url(repository), run.head_sha),
            "start_line": annotation.start_line,
            "end_line": annotation.end_line,
            "start_column": null,
            "end_column": null,
            "annotation_level": annotation.level,
            "title": annotation.title.as_deref().unwrap_or_default(),
            "message": annotation.message,
            "raw_details": "",
        })
    }
}
