//! Pull requests, in full and in lists.

use serde_json::{Value, json};

use super::{Shaper, links};
use crate::ids::node_id;
use crate::model::{PullRequest, PullRequestEnd, PullRequestState};
use crate::operations::merge;
use crate::operations::pull_requests::Comparison;
use crate::state::Repository;

/// Whether a pull request can be merged, as GitHub says it: unknown while its background job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mergeable {
    Unknown,
    Clean,
    Conflict,
}

impl Shaper<'_> {
    /// Returns whether a pull request can be merged, where that is known by now.
    #[expect(clippy::unused_self, reason = "reads like its neighbours")]
    pub(crate) fn mergeable(&self, pull: &PullRequest, comparison: &Comparison) -> Mergeable {
        if pull.state == PullRequestState::Closed || pull.unknown_reads > 0 {
            Mergeable::Unknown
        } else if comparison.clean {
            Mergeable::Clean
        } else {
            Mergeable::Conflict
        }
    }

    /// Shapes a pull request as lists and reviews carry it.
    pub(crate) fn pull_request_simple(&self, repository: &Repository, pull: &PullRequest) -> Value {
        let url = format!("{}/pulls/{}", self.repo_url(repository), pull.number);
        let issue = format!("{}/issues/{}", self.repo_url(repository), pull.number);
        let page = format!("{}/pull/{}", self.repo_page(repository), pull.number);
        let statuses = format!("{}/statuses/{}", self.repo_url(repository), pull.head.sha);
        let comments = format!("{issue}/comments");
        let commits = format!("{url}/commits");
        let review_comments = format!("{url}/comments");
        let review_comment = format!("{}/pulls/comments{{/number}}", self.repo_url(repository));
        let assignees: Vec<Value> = pull.assignees.iter().map(|login| self.user(login)).collect();
        let reviewers: Vec<Value> = pull
            .requested_reviewers
            .iter()
            .map(|login| self.user(login))
            .collect();
        let mut labels = self.labels(repository, &pull.labels);
        for label in &mut labels {
            // GitHub's description of its API wants a text here, though the same label may have none elsewhere.
            if label["description"].is_null() {
                label["description"] = "".into();
            }
        }
        let mut labels = self.labels(repository, &pull.labels);
        for label in &mut labels {
            // In lists GitHub's OpenAPI knows no label without a description.
            if label["description"].is_null() {
                label["description"] = "".into();
            }
        }
        let mut shape = json!({
            "url": url,
            "id": pull.id,
            "node_id": node_id("PR", pull.id),
            "html_url": page,
            "diff_url": format!("{page}.diff"),
            "patch_url": format!("{page}.patch"),
            "issue_url": issue,
            "commits_url": commits,
            "review_comments_url": review_comments,
            "review_comment_url": review_comment,
            "comments_url": comments,
            "statuses_url": statuses,
            "number": pull.number,
            "state": pull.state.as_str(),
            "locked": false,
            "title": pull.title,
            "user": self.user(&pull.author),
            "body": pull.body,
            "labels": labels,
            "milestone": null,
            "active_lock_reason": null,
            "created_at": pull.created_at,
            "updated_at": pull.updated_at,
            "closed_at": pull.closed_at,
            "merged_at": pull.merged_at,
        });
        shape["merge_commit_sha"] = pull.merge_commit_sha.clone().into();
        shape["assignee"] = assignees.first().cloned().unwrap_or(Value::Null);
        shape["assignees"] = assignees.into();
        shape["requested_reviewers"] = reviewers.into();
        shape["requested_teams"] = json!([]);
        shape["head"] = self.end(repository, &pull.head);
        shape["base"] = self.end(repository, &pull.base);
        shape["author_association"] = self.association(&repository.owner, &pull.author).into();
        shape["auto_merge"] = Value::Null;
        shape["draft"] = pull.draft.into();
        shape["_links"] = links([
            ("self", url),
            ("html", page),
            ("issue", issue),
            ("comments", comments),
            ("commits", commits),
            ("statuses", statuses),
            ("review_comments", review_comments),
            ("review_comment", review_comment),
        ]);
        shape
    }

    /// Shapes a pull request as its own address gives it.
    pub(crate) fn pull_request(
        &self,
        repository: &Repository,
        pull: &PullRequest,
        comparison: &Comparison,
        mergeable: Mergeable,
    ) -> Value {
        let mut shape = self.pull_request_simple(repository, pull);
        let state = match mergeable {
            Mergeable::Unknown => "unknown",
            Mergeable::Conflict => "dirty",
            Mergeable::Clean if pull.draft => "draft",
            Mergeable::Clean if merge::blocked(repository, pull).is_some() => "blocked",
            Mergeable::Clean => {
                let failing = repository
                    .latest_statuses(&pull.head.sha)
                    .iter()
                    .any(|status| matches!(status.state.as_str(), "failure" | "error" | "pending"));
                if failing { "unstable" } else { "clean" }
            }
        };
        let known = match mergeable {
            Mergeable::Unknown => None,
            Mergeable::Clean => Some(true),
            Mergeable::Conflict => Some(false),
        };
        shape["merged"] = pull.merged.into();
        shape["mergeable"] = known.into();
        shape["rebaseable"] = known.into();
        shape["mergeable_state"] = state.into();
        shape["merged_by"] = pull
            .merged_by
            .as_ref()
            .map_or(Value::Null, |login| self.user(login));
        shape["comments"] = pull.comments.len().into();
        shape["review_comments"] = 0.into();
        shape["maintainer_can_modify"] = false.into();
        shape["commits"] = comparison.commits.len().into();
        shape["additions"] = comparison.additions().into();
        shape["deletions"] = comparison.deletions().into();
        shape["changed_files"] = comparison.files.len().into();
        shape
    }

    fn end(&self, repository: &Repository, end: &PullRequestEnd) -> Value {
        json!({
            "label": format!("{}:{}", repository.owner, end.branch),
            "ref": end.branch,
            "sha": end.sha,
            "user": self.user(&repository.owner),
            "repo": self.repository(repository),
        })
    }
}
