//! Apps, installations, webhooks and their deliveries.

use serde_json::{Map, Value, json};

use super::Shaper;
use crate::ids::node_id;
use crate::model::UserKind;
use crate::state::{AppRecord, Installation};
use crate::webhook::{Delivery, Hook, HookTarget};

impl Shaper<'_> {
    /// Shapes an App.
    pub(crate) fn app(&self, app: &AppRecord) -> Value {
        let page = format!("{}/apps/{}", self.web, app.slug);
        json!({
            "id": app.id,
            "slug": app.slug,
            "client_id": app.client_id,
            "node_id": node_id("A", app.id),
            "owner": self.user(&app.owner),
            "name": app.slug,
            "description": "",
            "external_url": page,
            "html_url": page,
            "created_at": app.created_at,
            "updated_at": app.created_at,
            "permissions": app.permissions,
            "events": named(&app.events),
        })
    }

    /// Shapes an installation.
    pub(crate) fn installation(&self, installation: &Installation) -> Option<Value> {
        let app = self.state.apps.get(&installation.app)?;
        let account = self.state.user(&installation.account);
        let url = format!("{}/app/installations/{}", self.api, installation.id);
        let kind = if account.kind == UserKind::Organization {
            "Organization"
        } else {
            "User"
        };
        Some(json!({
            "id": installation.id,
            "client_id": app.client_id,
            "account": self.user(&installation.account),
            "repository_selection": "selected",
            "access_tokens_url": format!("{url}/access_tokens"),
            "repositories_url": format!("{}/installation/repositories", self.api),
            "html_url": format!("{}/settings/installations/{}", self.web, installation.id),
            "app_id": app.id,
            "app_slug": app.slug,
            "target_id": account.id,
            "target_type": kind,
            "permissions": app.permissions,
            "events": named(&app.events),
            "created_at": installation.created_at,
            "updated_at": installation.created_at,
            "single_file_name": null,
            "has_multiple_single_files": false,
            "single_file_paths": [],
            "suspended_by": null,
            "suspended_at": installation.suspended_at,
        }))
    }

    /// Shapes a webhook, its secret hidden.
    pub(crate) fn hook(&self, hook: &Hook) -> Value {
        let config =
            json!({"url": hook.url, "content_type": "json", "insecure_ssl": "0", "secret": "********"});
        let mut shape = json!({
            "id": hook.id,
            "name": "web",
            "active": true,
            "events": hook.events,
            "config": config,
            "created_at": hook.created_at,
            "updated_at": hook.created_at,
        });
        match &hook.target {
            HookTarget::Repository(name) => {
                let url = format!("{}/repos/{name}/hooks/{}", self.api, hook.id);
                shape["type"] = "Repository".into();
                shape["test_url"] = format!("{url}/test").into();
                shape["ping_url"] = format!("{url}/pings").into();
                shape["deliveries_url"] = format!("{url}/deliveries").into();
                shape["last_response"] = self.last_response(hook.id);
                shape["url"] = url.into();
            }
            HookTarget::App(app) => {
                shape["type"] = "App".into();
                shape["app_id"] = (*app).into();
                shape["deliveries_url"] = format!("{}/app/hook/deliveries", self.api).into();
            }
        }
        shape
    }

    fn last_response(&self, hook: u64) -> Value {
        let last = self
            .state
            .deliveries
            .iter()
            .rev()
            .find(|delivery| delivery.hook == hook);
        match last {
            None => json!({"code": null, "status": "unused", "message": null}),
            Some(delivery) if delivery.succeeded() => {
                json!({"code": delivery.status_code, "status": "active", "message": "OK"})
            }
            Some(delivery) => {
                json!({"code": delivery.status_code, "status": "failed", "message": delivery.status})
            }
        }
    }

    /// Shapes a delivery as lists have it.
    #[expect(clippy::unused_self, reason = "reads like its neighbours")]
    pub(crate) fn delivery_item(&self, delivery: &Delivery) -> Value {
        json!({
            "id": delivery.id,
            "guid": delivery.guid,
            "delivered_at": delivery.delivered_at,
            "redelivery": delivery.redelivery,
            "duration": (delivery.duration.as_secs_f64() * 100.0).round() / 100.0,
            "status": delivery.status,
            "status_code": delivery.status_code,
            "event": delivery.event,
            "action": delivery.action,
            "installation_id": delivery.installation,
            "repository_id": delivery.repository_id,
            "throttled_at": null,
        })
    }

    /// Shapes a delivery with what was sent and answered.
    pub(crate) fn delivery(&self, delivery: &Delivery) -> Value {
        let headers = |headers: &[(String, String)]| -> Value {
            let headers: Map<String, Value> = headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect();
            headers.into()
        };
        let payload: Value = serde_json::from_slice(&delivery.payload).unwrap_or(Value::Null);
        let mut shape = self.delivery_item(delivery);
        shape["url"] = delivery.url.as_str().into();
        shape["request"] = json!({"headers": headers(&delivery.request_headers), "payload": payload});
        shape["response"] =
            json!({"headers": headers(&delivery.response_headers), "payload": delivery.response_body});
        shape
    }
}

/// The events that the forge sends, which is what `*` stands for. GitHub lists an App's events one by one.
const EVENTS: [&str; 6] = [
    "check_run",
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "push",
    "status",
];

fn named(events: &[String]) -> Vec<&str> {
    if events.iter().any(|event| event == "*") {
        return EVENTS.to_vec();
    }
    events.iter().map(String::as_str).collect()
}
