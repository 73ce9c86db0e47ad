//! Repositories and their branches.

use serde_json::{Map, Value, json};

use super::{Shaper, path_in_url};
use crate::auth::Actor;
use crate::git::commits::Commit;
use crate::ids::node_id;
use crate::model::{Access, Level};
use crate::state::Repository;

/// Fields that are addresses below the repository's own, some of them templates.
const ADDRESSES: [(&str, &str); 37] = [
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
    ("url", ""),
];

impl Shaper<'_> {
    pub(super) fn repo_url(&self, repository: &Repository) -> String {
        format!("{}/repos/{}", self.api, repository.full_name())
    }

    pub(super) fn repo_page(&self, repository: &Repository) -> String {
        format!("{}/{}", self.web, repository.full_name())
    }

    /// Shapes a repository as lists and other objects carry it.
    pub(crate) fn repository(&self, repository: &Repository) -> Value {
        self.repository_fields(repository).into()
    }

    /// Shapes a repository as `GET /repos/{owner}/{repo}` gives it.
    pub(crate) fn full_repository(&self, repository: &Repository, actor: &Actor) -> Value {
        let mut fields = self.repository_fields(repository);
        let settings = &repository.settings;
        for (name, allowed) in [
            ("allow_merge_commit", settings.allow_merge_commit),
            ("allow_squash_merge", settings.allow_squash_merge),
            ("allow_rebase_merge", settings.allow_rebase_merge),
            ("delete_branch_on_merge", settings.delete_branch_on_merge),
            ("allow_auto_merge", false),
            ("allow_update_branch", false),
            ("use_squash_pr_title_as_default", false),
        ] {
            fields.insert(name.into(), allowed.into());
        }
        for (name, value) in [
            ("squash_merge_commit_title", "COMMIT_OR_PR_TITLE"),
            ("squash_merge_commit_message", "COMMIT_MESSAGES"),
            ("merge_commit_title", "MERGE_MESSAGE"),
            ("merge_commit_message", "PR_TITLE"),
        ] {
            fields.insert(name.into(), value.into());
        }
        let (read, write, admin) = match actor {
            Actor::User(login) => {
                let access = repository.access_of(login);
                (
                    access >= Access::Read,
                    access >= Access::Write,
                    access == Access::Admin,
                )
            }
            Actor::Installation { permissions, .. } => {
                let contents = permissions.get("contents").copied();
                (
                    true,
                    contents >= Some(Level::Write),
                    permissions.get("administration") >= Some(&Level::Write),
                )
            }
            _ => (false, false, false),
        };
        fields.insert(
            "permissions".into(),
            json!({"admin": admin, "maintain": admin, "push": write, "triage": write, "pull": read}),
        );
        fields.insert("subscribers_count".into(), 0.into());
        fields.insert("network_count".into(), 0.into());
        fields.into()
    }

    /// Shapes a repository as a push event carries it: with times as numbers.
    pub(crate) fn push_repository(&self, repository: &Repository) -> Value {
        let mut fields = self.repository_fields(repository);
        fields.insert("created_at".into(), repository.created_at.unix().into());
        fields.insert("pushed_at".into(), repository.pushed_at.unix().into());
        fields.insert("stargazers".into(), 0.into());
        fields.insert("master_branch".into(), repository.default_branch.as_str().into());
        fields.into()
    }

    fn repository_fields(&self, repository: &Repository) -> Map<String, Value> {
        let full_name = repository.full_name();
        let url = self.repo_url(repository);
        let page = self.repo_page(repository);
        let mut fields = Map::new();
        for (name, suffix) in ADDRESSES {
            fields.insert(name.into(), format!("{url}{suffix}").into());
        }
        let host = self.web.trim_start_matches("http://");
        for (name, value) in [
            ("node_id", node_id("R", repository.id)),
            ("name", repository.name.clone()),
            ("full_name", full_name.clone()),
            ("html_url", page.clone()),
            ("clone_url", format!("{page}.git")),
            ("svn_url", page),
            ("git_url", format!("git://{host}/{full_name}.git")),
            ("ssh_url", format!("ssh://git@{host}/{full_name}.git")),
            ("default_branch", repository.default_branch.clone()),
            ("visibility", "private".into()),
            ("created_at", repository.created_at.to_string()),
            ("updated_at", repository.pushed_at.to_string()),
            ("pushed_at", repository.pushed_at.to_string()),
        ] {
            fields.insert(name.into(), value.into());
        }
        for name in [
            "fork",
            "archived",
            "disabled",
            "is_template",
            "has_pages",
            "web_commit_signoff_required",
        ] {
            fields.insert(name.into(), false.into());
        }
        for name in [
            "private",
            "has_issues",
            "has_projects",
            "has_wiki",
            "has_downloads",
            "allow_forking",
        ] {
            fields.insert(name.into(), true.into());
        }
        fields.insert("has_discussions".into(), false.into());
        for name in ["description", "homepage", "language", "license", "mirror_url"] {
            fields.insert(name.into(), Value::Null);
        }
        for name in [
            "forks",
            "forks_count",
            "stargazers_count",
            "watchers",
            "watchers_count",
            "size",
        ] {
            fields.insert(name.into(), 0.into());
        }
        let open = repository.open_pulls().count();
        fields.insert("open_issues".into(), open.into());
        fields.insert("open_issues_count".into(), open.into());
        fields.insert("id".into(), repository.id.into());
        fields.insert("owner".into(), self.user(&repository.owner));
        fields.insert("topics".into(), json!([]));
        fields.insert("custom_properties".into(), json!({}));
        fields
    }

    /// Shapes a branch with its last commit.
    pub(crate) fn branch(&self, repository: &Repository, name: &str, commit: &Commit) -> Value {
        let escaped = path_in_url(name);
        let url = format!("{}/branches/{escaped}", self.repo_url(repository));
        let protection = repository.protection.get(name);
        let contexts = protection
            .map(|protection| protection.required_contexts.clone())
            .unwrap_or_default();
        let checks: Vec<Value> = contexts
            .iter()
            .map(|context| json!({"context": context, "app_id": null}))
            .collect();
        json!({
            "name": name,
            "commit": self.commit(repository, commit),
            "_links": {
                "self": url,
                "html": format!("{}/tree/{escaped}", self.repo_page(repository)),
            },
            "protected": protection.is_some(),
            "protection": {
                "enabled": protection.is_some(),
                "required_status_checks": {
                    "enforcement_level": if contexts.is_empty() { "off" } else { "everyone" },
                    "contexts": contexts,
                    "checks": checks,
                },
            },
            "protection_url": format!("{url}/protection"),
        })
    }

    /// Shapes a branch as a list of branches has it.
    pub(crate) fn short_branch(&self, repository: &Repository, name: &str, sha: &str) -> Value {
        json!({
            "name": name,
            "commit": {"sha": sha, "url": format!("{}/commits/{sha}", self.repo_url(repository))},
            "protected": repository.protection.contains_key(name),
        })
    }

    /// Shapes the protection of a branch.
    pub(crate) fn protection(&self, repository: &Repository, branch: &str) -> Option<Value> {
        let protection = repository.protection.get(branch)?;
        let url = format!(
            "{}/branches/{}/protection",
            self.repo_url(repository),
            path_in_url(branch)
        );
        let mut shape = json!({
            "url": url,
            "enforce_admins": {"url": format!("{url}/enforce_admins"), "enabled": true},
            "required_linear_history": {"enabled": false},
            "allow_force_pushes": {"enabled": false},
            "allow_deletions": {"enabled": false},
            "block_creations": {"enabled": false},
            "required_conversation_resolution": {"enabled": false},
            "lock_branch": {"enabled": false},
            "allow_fork_syncing": {"enabled": false},
            "required_signatures": {"url": format!("{url}/required_signatures"), "enabled": false},
        });
        if !protection.required_contexts.is_empty() {
            let checks: Vec<Value> = protection
                .required_contexts
                .iter()
                .map(|context| json!({"context": context, "app_id": null}))
                .collect();
            shape["required_status_checks"] = json!({
                "url": format!("{url}/required_status_checks"),
                "strict": false,
                "contexts": protection.required_contexts,
                "contexts_url": format!("{url}/required_status_checks/contexts"),
                "checks": checks,
            });
        }
        if protection.required_approvals > 0 {
            shape["required_pull_request_reviews"] = json!({
                "url": format!("{url}/required_pull_request_reviews"),
                "dismiss_stale_reviews": false,
                "require_code_owner_reviews": false,
                "require_last_push_approval": false,
                "required_approving_review_count": protection.required_approvals,
            });
        }
        Some(shape)
    }
}
