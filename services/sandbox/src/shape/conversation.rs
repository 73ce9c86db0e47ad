//! Issues, comments, labels and reviews.

use serde_json::{Map, Value, json};

use super::{Shaper, links, path_in_url};
use crate::ids::node_id;
use crate::model::{Comment, Label, PullRequest, Reaction, Review};
use crate::operations::conversation::REACTIONS;
use crate::state::Repository;

/// Counts reactions, as GitHub shows them with what they are about.
fn counted(url: &str, reactions: &[Reaction]) -> Value {
    let count = |kind: &str| reactions.iter().filter(|one| one.content == kind).count();
    let mut counted: Map<String, Value> = REACTIONS
        .into_iter()
        .map(|kind| (kind.into(), count(kind).into()))
        .collect();
    counted.insert("total_count".into(), reactions.len().into());
    counted.insert("url".into(), format!("{url}/reactions").into());
    counted.into()
}

impl Shaper<'_> {
    /// Shapes labels by name.
    pub(crate) fn labels(&self, repository: &Repository, names: &[String]) -> Vec<Value> {
        names
            .iter()
            .filter_map(|name| repository.labels.get(&name.to_lowercase()))
            .map(|label| self.label(repository, label))
            .collect()
    }

    /// Shapes one label.
    pub(crate) fn label(&self, repository: &Repository, label: &Label) -> Value {
        json!({
            "id": label.id,
            "node_id": node_id("LA", label.id),
            "url": format!("{}/labels/{}", self.repo_url(repository), path_in_url(&label.name)),
            "name": label.name,
            "description": label.description,
            "color": label.color,
            "default": false,
        })
    }

    /// Shapes a pull request as the issue that it is, too.
    pub(crate) fn issue(&self, repository: &Repository, pull: &PullRequest) -> Value {
        let repo = self.repo_url(repository);
        let url = format!("{repo}/issues/{}", pull.number);
        let page = format!("{}/pull/{}", self.repo_page(repository), pull.number);
        let assignees: Vec<Value> = pull.assignees.iter().map(|login| self.user(login)).collect();
        json!({
            "id": pull.issue_id,
            "node_id": node_id("PR", pull.id),
            "url": url,
            "repository_url": repo,
            "labels_url": format!("{url}/labels{{/name}}"),
            "comments_url": format!("{url}/comments"),
            "events_url": format!("{url}/events"),
            "timeline_url": format!("{url}/timeline"),
            "html_url": page,
            "number": pull.number,
            "state": pull.state.as_str(),
            "state_reason": null,
            "title": pull.title,
            "body": pull.body,
            "user": self.user(&pull.author),
            "labels": self.labels(repository, &pull.labels),
            "assignee": assignees.first().cloned(),
            "assignees": assignees,
            "milestone": null,
            "locked": false,
            "active_lock_reason": null,
            "comments": pull.comments.len(),
            "closed_at": pull.closed_at,
            "created_at": pull.created_at,
            "updated_at": pull.updated_at,
            "author_association": self.association(&repository.owner, &pull.author),
            "reactions": counted(&url, &[]),
            "performed_via_github_app": null,
            "draft": pull.draft,
            "pull_request": {
                "url": format!("{repo}/pulls/{}", pull.number),
                "html_url": page,
                "diff_url": format!("{page}.diff"),
                "patch_url": format!("{page}.patch"),
                "merged_at": pull.merged_at,
            },
        })
    }

    /// Shapes a comment.
    pub(crate) fn comment(&self, repository: &Repository, pull: &PullRequest, comment: &Comment) -> Value {
        let repo = self.repo_url(repository);
        let url = format!("{repo}/issues/comments/{}", comment.id);
        let page = format!("{}/pull/{}", self.repo_page(repository), pull.number);
        let app = comment
            .via_app
            .as_ref()
            .and_then(|slug| self.state.apps.values().find(|app| app.slug == *slug))
            .map(|app| self.app(app));
        json!({
            "id": comment.id,
            "node_id": node_id("IC", comment.id),
            "url": url,
            "html_url": format!("{page}#issuecomment-{}", comment.id),
            "issue_url": format!("{repo}/issues/{}", pull.number),
            "user": self.user(&comment.author),
            "body": comment.body,
            "created_at": comment.created_at,
            "updated_at": comment.updated_at,
            "author_association": self.association(&repository.owner, &comment.author),
            "performed_via_github_app": app,
            "reactions": counted(&url, &comment.reactions),
            "minimized": comment.minimized.as_ref().map(|reason| json!({"reason": reason})),
        })
    }

    /// Shapes a reaction.
    pub(crate) fn reaction(&self, reaction: &Reaction) -> Value {
        json!({
            "id": reaction.id,
            "node_id": node_id("REA", reaction.id),
            "user": self.user(&reaction.author),
            "content": reaction.content,
            "created_at": reaction.created_at,
        })
    }

    /// Shapes a review.
    pub(crate) fn review(&self, repository: &Repository, pull: &PullRequest, review: &Review) -> Value {
        let url = format!("{}/pulls/{}", self.repo_url(repository), pull.number);
        let page = format!("{}/pull/{}", self.repo_page(repository), pull.number);
        let html = format!("{page}#pullrequestreview-{}", review.id);
        json!({
            "id": review.id,
            "node_id": node_id("PRR", review.id),
            "user": self.user(&review.author),
            "body": review.body,
            "state": review.state.as_str(),
            "html_url": html,
            "pull_request_url": url,
            "_links": links([("html", html.clone()), ("pull_request", url.clone())]),
            "submitted_at": review.submitted_at,
            "commit_id": review.commit_id,
            "author_association": self.association(&repository.owner, &review.author),
        })
    }
}
