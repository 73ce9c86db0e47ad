//! What follows when branches and tags move, whoever moved them.
//!
//! Git is the truth; the forge compares it with what it last saw. That is done under the repository's lane, after
//! every push, merge and edit through the API. A move is therefore noticed once, however many pushes overlap, and
//! two that follow each other before anybody looked are one event, as on GitHub when it is busy.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::auth::Actor;
use crate::change::Change;
use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::git::ZERO_OID;
use crate::model::PullRequestState;
use crate::operations::pull_requests;
use crate::state::RepoRef;
use crate::webhook::payload;

/// GitHub lists at most this many commits in a push event.
const PUSH_COMMITS: &str = "--max-count=2048";

/// A ref that is not where it was.
#[derive(Debug, Clone)]
struct Moved {
    name: String,
    before: String,
    after: String,
}

/// What a moved branch did to a pull request.
#[derive(Debug, Clone)]
enum Effect {
    Synchronized {
        number: u64,
        before: String,
        after: String,
    },
    Closed {
        number: u64,
    },
    MaybeMerged {
        number: u64,
        head: String,
        tip: String,
    },
}

/// Compares git with memory, brings memory up to date and sends the events. The caller holds the lane.
pub(crate) async fn notice(inner: &Arc<Inner>, repo: &RepoRef, actor: &Actor) -> Result<(), ForgeError> {
    let mut now = inner.git.refs(&repo.dir, "refs/heads/").await?;
    now.extend(inner.git.refs(&repo.dir, "refs/tags/").await?);
    let (moved, effects) = {
        let unknown_reads = inner.unknown_reads();
        let mut state = inner.state();
        let repository = state.repository_mut(&repo.key)?;
        let mut moved = Vec::new();
        let names: std::collections::BTreeSet<&String> = repository.refs.keys().chain(now.keys()).collect();
        for name in names {
            let at = |refs: &std::collections::BTreeMap<String, String>| {
                refs.get(name).cloned().unwrap_or_else(|| ZERO_OID.to_owned())
            };
            let (before, after) = (at(&repository.refs), at(&now));
            if before != after {
                moved.push(Moved {
                    name: name.clone(),
                    before,
                    after,
                });
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        repository.refs = now;
        repository.pushed_at = Timestamp::now();
        let mut effects = Vec::new();
        for Moved { name, before, after } in &moved {
            let Some(branch) = name.strip_prefix("refs/heads/") else {
                continue;
            };
            let gone = after == ZERO_OID;
            let tips = repository.refs.clone();
            for pull in repository
                .pulls
                .values_mut()
                .filter(|pull| pull.state == PullRequestState::Open)
            {
                let number = pull.number;
                if (pull.head.branch == branch || pull.base.branch == branch) && gone {
                    pull.state = PullRequestState::Closed;
                    pull.closed_at = Some(Timestamp::now());
                    pull.updated_at = Timestamp::now();
                    effects.push(Effect::Closed { number });
                } else if pull.head.branch == branch {
                    pull.head.sha.clone_from(after);
                    if let Some(tip) = tips.get(&format!("refs/heads/{}", pull.base.branch)) {
                        pull.base.sha.clone_from(tip);
                    }
                    pull.updated_at = Timestamp::now();
                    pull.unknown_reads = unknown_reads;
                    effects.push(Effect::Synchronized {
                        number,
                        before: before.clone(),
                        after: after.clone(),
                    });
                } else if pull.base.branch == branch {
                    let (head, tip) = (pull.head.sha.clone(), after.clone());
                    effects.push(Effect::MaybeMerged { number, head, tip });
                }
            }
        }
        (moved, effects)
    };
    for one in &moved {
        send_push(inner, repo, actor, one).await?;
        inner.tell(Change::RefMoved {
            repository: repo.full_name.clone(),
            name: one.name.clone(),
            before: one.before.clone(),
            after: one.after.clone(),
        });
    }
    for effect in effects {
        match effect {
            Effect::Synchronized {
                number,
                before,
                after,
            } => {
                pull_requests::keep_head(inner, repo, number, &after).await?;
                let mut extra = Map::new();
                extra.insert("before".into(), before.into());
                extra.insert("after".into(), after.into());
                pull_requests::announce(inner, repo, number, "synchronize", actor.login(), extra).await?;
            }
            Effect::Closed { number } => {
                pull_requests::announce(inner, repo, number, "closed", actor.login(), Map::new()).await?;
            }
            Effect::MaybeMerged { number, head, tip } => {
                if inner.git.is_ancestor(&repo.dir, &head, &tip).await? {
                    merged_by_push(inner, repo, actor, number, &head).await?;
                }
            }
        }
    }
    Ok(())
}

/// Marks a pull request as merged because its head got into the base by a push.
async fn merged_by_push(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    head: &str,
) -> Result<(), ForgeError> {
    let base = inner
        .state()
        .repository(&repo.key)?
        .pull(number)?
        .base
        .sha
        .clone();
    let from = inner.git.merge_base(&repo.dir, &base, head).await?;
    {
        let mut state = inner.state();
        let pull = state.repository_mut(&repo.key)?.pull_mut(number)?;
        let now = Timestamp::now();
        pull.state = PullRequestState::Closed;
        pull.merged = true;
        pull.merged_at = Some(now);
        pull.closed_at = Some(now);
        pull.updated_at = now;
        pull.merged_by = Some(actor.login().to_owned());
        pull.merge_commit_sha = Some(head.to_owned());
        pull.merged_from = from;
    }
    pull_requests::announce(inner, repo, number, "closed", actor.login(), Map::new()).await
}

/// Sends `create` or `delete` where the ref is new or gone, and `push` in any case.
async fn send_push(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    moved: &Moved,
) -> Result<(), ForgeError> {
    if !payload::is_heard(inner, repo) {
        return Ok(());
    }
    let created = moved.before == ZERO_OID;
    let deleted = moved.after == ZERO_OID;
    let (ref_type, short) = match moved.name.strip_prefix("refs/heads/") {
        Some(branch) => ("branch", branch),
        None => (
            "tag",
            moved.name.strip_prefix("refs/tags/").unwrap_or(&moved.name),
        ),
    };
    if created || deleted {
        let mut body = Map::new();
        body.insert("ref".into(), short.into());
        body.insert("ref_type".into(), ref_type.into());
        body.insert("pusher_type".into(), "user".into());
        if created {
            body.insert("master_branch".into(), repo.default_branch.as_str().into());
            body.insert("description".into(), Value::Null);
        }
        payload::send(
            inner,
            repo,
            if created { "create" } else { "delete" },
            None,
            actor.login(),
            body,
        )?;
    }
    let git = &inner.git;
    let forced = !created && !deleted && !git.is_ancestor(&repo.dir, &moved.before, &moved.after).await?;
    let shas = if deleted || ref_type == "tag" {
        Vec::new()
    } else if created {
        let default = format!("^refs/heads/{}", repo.default_branch);
        let known = inner
            .state()
            .repository(&repo.key)?
            .branch(&repo.default_branch)
            .is_some();
        let own = short == repo.default_branch;
        let mut args = vec![PUSH_COMMITS, moved.after.as_str()];
        if known && !own {
            args.push(&default);
        }
        git.rev_list(&repo.dir, &args).await?
    } else {
        let before = format!("^{}", moved.before);
        git.rev_list(&repo.dir, &[PUSH_COMMITS, &moved.after, &before])
            .await?
    };
    let shas: Vec<String> = shas.into_iter().rev().collect();
    let commits = git.commits(&repo.dir, &shas).await?;
    let touched = git.touched(&repo.dir, &shas).await?;
    let head = if deleted {
        None
    } else {
        let tip = git.resolve(&repo.dir, &moved.after).await?;
        match tip {
            Some(tip) => {
                let commit = git.commit(&repo.dir, &tip).await?;
                let paths = git.touched(&repo.dir, std::slice::from_ref(&tip)).await?;
                Some((commit, paths.into_iter().next().unwrap_or_default()))
            }
            None => None,
        }
    };
    let mut body = Map::new();
    {
        let state = inner.state();
        let shaper = inner.shaper(&state);
        let repository = state.repository(&repo.key)?;
        let told: Vec<Value> = commits
            .iter()
            .zip(&touched)
            .map(|(commit, paths)| shaper.push_commit(repository, commit, paths))
            .collect();
        let head = head.map(|(commit, paths)| shaper.push_commit(repository, &commit, &paths));
        let pusher = state.user(actor.login());
        let web = format!("{}/{}", inner.url(), repo.full_name);
        let range = format!("{}...{}", short_oid(&moved.before), short_oid(&moved.after));
        let compare = format!("{web}/compare/{range}");
        body.insert("ref".into(), moved.name.as_str().into());
        body.insert("before".into(), moved.before.as_str().into());
        body.insert("after".into(), moved.after.as_str().into());
        body.insert("created".into(), created.into());
        body.insert("deleted".into(), deleted.into());
        body.insert("forced".into(), forced.into());
        body.insert("base_ref".into(), Value::Null);
        body.insert("compare".into(), compare.into());
        body.insert("commits".into(), told.into());
        body.insert("head_commit".into(), head.unwrap_or(Value::Null));
        body.insert(
            "pusher".into(),
            json!({"name": pusher.login, "email": pusher.email()}),
        );
        body.insert("repository".into(), shaper.push_repository(repository));
    }
    payload::send(inner, repo, "push", None, actor.login(), body)
}

fn short_oid(oid: &str) -> &str {
    oid.get(..12).unwrap_or(oid)
}
