//! Merging pull requests, with GitHub's refusals.

use std::sync::Arc;

use serde_json::Map;

use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::git::ZERO_OID;
use crate::git::commits::{Commit, Signature};
use crate::git::merge::Merged;
use crate::model::{MergeMethod, PullRequest, PullRequestState, ReviewState};
use crate::operations::{pull_requests, refs};
use crate::state::{RepoRef, Repository};

/// What somebody who merges gives.
#[derive(Debug, Clone, Default)]
pub(crate) struct MergeRequest {
    pub(crate) method: MergeMethod,
    /// The head that is to be merged; another one is refused.
    pub(crate) sha: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) message: Option<String>,
}

fn not_mergeable(message: impl Into<String>) -> ForgeError {
    ForgeError::NotMergeable(message.into())
}

/// Merges a pull request and gives the commit that the base has then.
pub(crate) async fn merge(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    request: MergeRequest,
) -> Result<String, ForgeError> {
    // One merge at a time in a repository; a push may still come in between, and then the base has moved.
    let _lane = repo.lane.lock().await;
    let (pull, base) = {
        let state = inner.state();
        let repository = state.repository(&repo.key)?;
        let pull = repository.pull(number)?;
        check(repository, pull, &request)?;
        let base = repository.branch(&pull.base.branch).cloned();
        (
            pull.clone(),
            base.ok_or_else(|| not_mergeable("Base branch does not exist"))?,
        )
    };
    let git = &inner.git;
    let head = pull.head.sha.as_str();
    let from = git.merge_base(&repo.dir, &base, head).await?;
    let conflict = || not_mergeable("Pull Request is not mergeable");
    let from = from.ok_or_else(conflict)?;
    let user = inner.state().user(actor.login());
    let author = Signature::now(&user.login, user.email());
    let committer = Signature::web_flow();
    let after = match request.method {
        MergeMethod::Rebase => match git.rebase(&repo.dir, &from, head, &base, &author).await? {
            Merged::Clean(tip) => tip,
            Merged::Conflict => {
                return Err(not_mergeable("This branch can't be rebased"));
            }
        },
        method => {
            let Merged::Clean(tree) = git.merge_tree(&repo.dir, &base, head, None).await? else {
                return Err(conflict());
            };
            let range = format!("^{base}");
            let shas = git
                .rev_list(&repo.dir, &["--reverse", "--no-merges", head, &range])
                .await?;
            let commits = git.commits(&repo.dir, &shas).await?;
            let message = if method == MergeMethod::Squash {
                squash_message(&pull, &commits, &request)
            } else {
                merge_message(repo, &pull, &request)
            };
            let parents = [base.as_str(), head];
            let parents = if method == MergeMethod::Squash {
                &parents[..1]
            } else {
                &parents[..]
            };
            git.make_commit(&repo.dir, &tree, parents, &message, &author, &committer)
                .await?
        }
    };
    let base_ref = format!("refs/heads/{}", pull.base.branch);
    if !git.update_ref(&repo.dir, &base_ref, &after, &base).await? {
        return Err(not_mergeable(
            "Base branch was modified. Review and try the merge again.",
        ));
    }
    let delete_head = {
        let mut state = inner.state();
        let repository = state.repository_mut(&repo.key)?;
        let now = Timestamp::now();
        let pull = repository.pull_mut(number)?;
        pull.state = PullRequestState::Closed;
        pull.merged = true;
        pull.merged_at = Some(now);
        pull.closed_at = Some(now);
        pull.updated_at = now;
        pull.merged_by = Some(actor.login().to_owned());
        pull.merge_commit_sha = Some(after.clone());
        pull.merged_from = Some(from);
        repository.settings.delete_branch_on_merge
    };
    pull_requests::announce(inner, repo, number, "closed", actor.login(), Map::new()).await?;
    if delete_head {
        let head_ref = format!("refs/heads/{}", pull.head.branch);
        // Somebody may have pushed to it since: then it stays.
        git.update_ref(&repo.dir, &head_ref, ZERO_OID, head).await?;
    }
    refs::notice(inner, repo, actor).await?;
    Ok(after)
}

/// Refuses what GitHub refuses, in its order and words.
fn check(repository: &Repository, pull: &PullRequest, request: &MergeRequest) -> Result<(), ForgeError> {
    if pull.state == PullRequestState::Closed {
        return Err(not_mergeable("Pull Request is not mergeable"));
    }
    if request.sha.as_ref().is_some_and(|sha| *sha != pull.head.sha) {
        return Err(ForgeError::Conflict(
            "Head branch was modified. Review and try the merge again.".into(),
        ));
    }
    if pull.draft {
        return Err(not_mergeable("Pull Request is still a draft"));
    }
    let settings = &repository.settings;
    let (allowed, what) = match request.method {
        MergeMethod::Merge => (settings.allow_merge_commit, "Merge commits"),
        MergeMethod::Squash => (settings.allow_squash_merge, "Squash merges"),
        MergeMethod::Rebase => (settings.allow_rebase_merge, "Rebase merges"),
    };
    if !allowed {
        return Err(not_mergeable(format!(
            "{what} are not allowed on this repository."
        )));
    }
    match blocked(repository, pull) {
        Some(reason) => Err(not_mergeable(reason)),
        None => Ok(()),
    }
}

/// Returns why the protection of the base does not let a pull request in.
pub(crate) fn blocked(repository: &Repository, pull: &PullRequest) -> Option<String> {
    let protection = repository.protection.get(&pull.base.branch)?;
    let statuses = repository.latest_statuses(&pull.head.sha);
    for context in &protection.required_contexts {
        let status = statuses
            .iter()
            .find(|status| status.context == *context)
            .map(|status| status.state.as_str());
        let check = repository
            .check_runs
            .values()
            .rev()
            .find(|run| run.head_sha == pull.head.sha && run.name == *context)
            .map(|run| run.conclusion.as_deref().unwrap_or("pending"));
        match status.or(check) {
            Some("success" | "neutral" | "skipped") => {}
            Some("pending") => return Some(format!("Required status check \"{context}\" is pending.")),
            Some(_) => return Some(format!("Required status check \"{context}\" is failing.")),
            None => return Some(format!("Required status check \"{context}\" is expected.")),
        }
    }
    let needed = protection.required_approvals;
    let mut latest = std::collections::BTreeMap::new();
    for review in pull.reviews.iter().filter(|review| {
        matches!(
            review.state,
            ReviewState::Approved | ReviewState::ChangesRequested
        )
    }) {
        latest.insert(review.author.to_lowercase(), review.state);
    }
    if needed > 0
        && latest
            .values()
            .any(|state| *state == ReviewState::ChangesRequested)
    {
        return Some("Changes have been requested.".into());
    }
    if (latest.len() as u64) < u64::from(needed) {
        let (plural, verb) = if needed == 1 { ("", "is") } else { ("s", "are") };
        return Some(format!(
            "At least {needed} approving review{plural} {verb} required by reviewers with write access."
        ));
    }
    None
}

fn merge_message(repo: &RepoRef, pull: &PullRequest, request: &MergeRequest) -> String {
    let title = request.title.clone().unwrap_or_else(|| {
        format!(
            "Merge pull request #{} from {}/{}",
            pull.number, repo.owner, pull.head.branch
        )
    });
    join(
        title,
        request.message.clone().unwrap_or_else(|| pull.title.clone()),
    )
}

/// GitHub's default: the one commit's own message, or the title of the pull request over a list of commits.
fn squash_message(pull: &PullRequest, commits: &[Commit], request: &MergeRequest) -> String {
    let (title, body) = if let [only] = commits {
        let rest = only.message.split_once('\n').map_or("", |(_, rest)| rest);
        (only.subject().to_owned(), rest.trim().to_owned())
    } else {
        let list: Vec<String> = commits
            .iter()
            .map(|commit| format!("* {}", commit.message))
            .collect();
        (pull.title.clone(), list.join("\n\n"))
    };
    let title = request
        .title
        .clone()
        .unwrap_or_else(|| format!("{title} (#{})", pull.number));
    join(title, request.message.clone().unwrap_or(body))
}

fn join(title: String, body: String) -> String {
    if body.is_empty() {
        title
    } else {
        format!("{title}\n\n{body}")
    }
}
