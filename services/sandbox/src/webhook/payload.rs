//! Putting webhooks together: what every event carries, and who gets it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::deliver::{self, Parcel};
use super::{Hook, HookTarget};
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::ids;
use crate::model::UserKind;
use crate::state::{RepoRef, State};

/// Finds the webhooks of a repository, each with the installation it stands for.
fn listeners(state: &State, repo: &RepoRef) -> Vec<(Hook, Option<u64>)> {
    state
        .hooks
        .values()
        .filter_map(|hook| match &hook.target {
            HookTarget::Repository(name) => {
                name.eq_ignore_ascii_case(&repo.key).then(|| (hook.clone(), None))
            }
            HookTarget::App(app) => state
                .installations
                .values()
                .find(|one| {
                    one.app == *app && one.repositories.contains(&repo.id) && one.suspended_at.is_none()
                })
                .map(|one| (hook.clone(), Some(one.id))),
        })
        .collect()
}

/// Tells whether anybody would get an event of this repository. Building one costs git calls.
pub(crate) fn is_heard(inner: &Inner, repo: &RepoRef) -> bool {
    !listeners(&inner.state(), repo).is_empty()
}

/// Sends an event of a repository to whoever listens.
pub(crate) fn send(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    event: &str,
    action: Option<&str>,
    sender: &str,
    body: Map<String, Value>,
) -> Result<(), ForgeError> {
    let (listeners, common) = {
        let state = inner.state();
        let listeners = listeners(&state, repo);
        let shaper = inner.shaper(&state);
        let repository = state.repository(&repo.key)?;
        let mut common = Map::new();
        if let Some(action) = action {
            common.insert("action".into(), action.into());
        }
        common.extend(body);
        common
            .entry("repository")
            .or_insert_with(|| shaper.repository(repository));
        common.insert("sender".into(), shaper.user(sender));
        if state.user(&repository.owner).kind == UserKind::Organization {
            common.insert("organization".into(), shaper.organization(&repository.owner));
        }
        (listeners, common)
    };
    for (hook, installation) in listeners.into_iter().filter(|(hook, _)| hook.wants(event)) {
        let mut body = common.clone();
        if let Some(id) = installation {
            body.insert(
                "installation".into(),
                json!({"id": id, "node_id": ids::node_id("MDI", id)}),
            );
        }
        deliver::send(
            inner,
            Parcel {
                hook,
                guid: ids::guid()?,
                event: event.to_owned(),
                action: action.map(str::to_owned),
                installation,
                repository_id: Some(repo.id),
                payload: Value::Object(body).to_string().into(),
                redelivery: false,
            },
        );
    }
    Ok(())
}

/// Greets a new webhook, as GitHub does.
pub(crate) fn ping(inner: &Arc<Inner>, hook: &Hook) -> Result<(), ForgeError> {
    let (body, repository_id) = {
        let state = inner.state();
        let shaper = inner.shaper(&state);
        let mut body = Map::new();
        body.insert("zen".into(), "Half measures are as bad as nothing at all.".into());
        body.insert("hook_id".into(), hook.id.into());
        body.insert("hook".into(), shaper.hook(hook));
        let mut repository_id = None;
        if let HookTarget::Repository(name) = &hook.target {
            let repository = state.repository(name)?;
            repository_id = Some(repository.id);
            body.insert("repository".into(), shaper.repository(repository));
            body.insert("sender".into(), shaper.user(&inner.options.viewer));
        }
        (body, repository_id)
    };
    deliver::send(
        inner,
        Parcel {
            hook: hook.clone(),
            guid: ids::guid()?,
            event: "ping".into(),
            action: None,
            installation: None,
            repository_id,
            payload: Value::Object(body).to_string().into(),
            redelivery: false,
        },
    );
    Ok(())
}
