//! Webhooks of a repository, and the log of deliveries.

use axum::extract::Path;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::{Answer, ok};
use crate::answers;
use crate::auth::Need;
use crate::error::ForgeError;
use crate::webhook::{self, Delivery, HookTarget};

#[derive(Debug, Deserialize)]
struct Query {
    per_page: Option<usize>,
    /// The id that the page begins below.
    cursor: Option<String>,
    status: Option<String>,
    redelivery: Option<bool>,
}

/// `GET /repos/{owner}/{repo}/hooks`
pub(super) async fn hooks(call: Call, Path((owner, name)): Path<(String, String)>) -> Answer {
    let repo = call.repo(&owner, &name, Need::READ_HOOKS)?;
    let page = call.page()?;
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let of_repository = |target: &HookTarget| matches!(target, HookTarget::Repository(name) if name.eq_ignore_ascii_case(&repo.full_name));
    let all: Vec<_> = state
        .hooks
        .values()
        .filter(|hook| of_repository(&hook.target))
        .collect();
    let shapes: Vec<Value> = page.cut(&all).iter().map(|hook| shaper.hook(hook)).collect();
    Ok(page.link(ok(&shapes.into())?, &call.address(), all.len()))
}

/// Finds the webhook of a repository, and refuses whoever may not do this with it.
fn repository_hook(
    call: &Call,
    owner: &str,
    name: &str,
    hook: u64,
    need: Need,
) -> Result<HookTarget, ForgeError> {
    let repo = call.repo(owner, name, need)?;
    let state = call.inner.state();
    let found = state.hooks.get(&hook).ok_or_else(ForgeError::not_found)?;
    match &found.target {
        HookTarget::Repository(name) if name.eq_ignore_ascii_case(&repo.full_name) => {
            Ok(found.target.clone())
        }
        _ => Err(ForgeError::not_found()),
    }
}

fn list(call: &Call, target: &HookTarget, hook: Option<u64>) -> Result<Response, ForgeError> {
    let query: Query = call.query()?;
    let size = query.per_page.filter(|size| *size > 0).unwrap_or(30).min(100);
    let below = match &query.cursor {
        None => u64::MAX,
        Some(cursor) => cursor
            .strip_prefix("v1_")
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| ForgeError::BadRequest("Invalid cursor".into()))?,
    };
    let state = call.inner.state();
    let shaper = call.inner.shaper(&state);
    let wanted = |delivery: &&Delivery| {
        delivery.target == *target
            && hook.is_none_or(|hook| delivery.hook == hook)
            && delivery.id < below
            && query
                .redelivery
                .is_none_or(|redelivery| delivery.redelivery == redelivery)
            && match query.status.as_deref() {
                Some("success") => delivery.succeeded(),
                Some("failure") => !delivery.succeeded(),
                _ => true,
            }
    };
    let mut found: Vec<&Delivery> = state.deliveries.iter().filter(wanted).collect();
    found.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
    let more = found.len() > size;
    found.truncate(size);
    let shapes: Vec<Value> = found
        .iter()
        .map(|delivery| shaper.delivery_item(delivery))
        .collect();
    let mut answer = ok(&shapes.into())?;
    if let (true, Some(last)) = (more, found.last()) {
        let address = call.address();
        let (path, asked) = address.split_once('?').unwrap_or((&address, ""));
        let kept: String = asked
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="))
            .map(|pair| format!("{pair}&"))
            .collect();
        let link = format!("<{path}?{kept}cursor=v1_{}>; rel=\"next\"", last.id);
        if let Ok(link) = HeaderValue::try_from(link) {
            answer.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(answer)
}

fn one(call: &Call, target: &HookTarget, hook: Option<u64>, id: u64) -> Answer {
    let state = call.inner.state();
    let delivery = find(&state.deliveries, target, hook, id)?;
    ok(&call.inner.shaper(&state).delivery(delivery))
}

fn find<'a>(
    all: &'a std::collections::VecDeque<Delivery>,
    target: &HookTarget,
    hook: Option<u64>,
    id: u64,
) -> Result<&'a Delivery, ForgeError> {
    all.iter()
        .find(|delivery| {
            delivery.id == id && delivery.target == *target && hook.is_none_or(|hook| delivery.hook == hook)
        })
        .ok_or_else(ForgeError::not_found)
}

fn redeliver(call: &Call, target: &HookTarget, hook: Option<u64>, id: u64) -> Answer {
    find(&call.inner.state().deliveries, target, hook, id)?;
    webhook::redeliver(&call.inner, id)?;
    Ok(answers::json(StatusCode::ACCEPTED, &json!({})))
}

/// `GET /repos/{owner}/{repo}/hooks/{hook}/deliveries`
pub(super) async fn of_hook(call: Call, Path((owner, name, hook)): Path<(String, String, u64)>) -> Answer {
    let target = repository_hook(&call, &owner, &name, hook, Need::READ_HOOKS)?;
    list(&call, &target, Some(hook))
}

type OnePath = Path<(String, String, u64, u64)>;

/// `GET /repos/{owner}/{repo}/hooks/{hook}/deliveries/{id}`
pub(super) async fn one_of_hook(call: Call, Path((owner, name, hook, id)): OnePath) -> Answer {
    let target = repository_hook(&call, &owner, &name, hook, Need::READ_HOOKS)?;
    one(&call, &target, Some(hook), id)
}

/// `POST /repos/{owner}/{repo}/hooks/{hook}/deliveries/{id}/attempts`
pub(super) async fn redeliver_of_hook(call: Call, Path((owner, name, hook, id)): OnePath) -> Answer {
    let target = repository_hook(&call, &owner, &name, hook, Need::WRITE_HOOKS)?;
    redeliver(&call, &target, Some(hook), id)
}

/// `GET /app/hook/deliveries`
pub(super) async fn of_app(call: Call) -> Answer {
    let target = HookTarget::App(call.actor.as_app()?);
    list(&call, &target, None)
}

/// `GET /app/hook/deliveries/{id}`
pub(super) async fn one_of_app(call: Call, Path(id): Path<u64>) -> Answer {
    let target = HookTarget::App(call.actor.as_app()?);
    one(&call, &target, None, id)
}

/// `POST /app/hook/deliveries/{id}/attempts`
pub(super) async fn redeliver_of_app(call: Call, Path(id): Path<u64>) -> Answer {
    let target = HookTarget::App(call.actor.as_app()?);
    redeliver(&call, &target, None, id)
}
