//! The log of webhook deliveries, and the button to send one again.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use maud::{Markup, html};

use super::layout::badge;
use super::{PageAnswer, Pressed, page, see};
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::webhook::{self, Delivery, HookTarget};

/// The newest deliveries that are shown.
const SHOWN: usize = 200;

fn outcome(delivery: &Delivery) -> Markup {
    if delivery.succeeded() {
        badge("success", &format!("{} OK", delivery.status_code))
    } else {
        badge("failure", &delivery.status)
    }
}

fn headline(delivery: &Delivery) -> String {
    match &delivery.action {
        Some(action) => format!("{} {action}", delivery.event),
        None => delivery.event.clone(),
    }
}

fn button(inner: &Inner, delivery: &Delivery) -> Markup {
    html! {
        form method="post" action={ "/-/deliveries/" (delivery.id) "/redeliver" } {
            input type="hidden" name="token" value=(inner.csrf_token);
            button type="submit" { "Redeliver" }
        }
    }
}

/// `GET /-/deliveries`
pub(super) async fn list(State(inner): State<Arc<Inner>>) -> PageAnswer {
    let deliveries: Vec<Delivery> = inner
        .state()
        .deliveries
        .iter()
        .rev()
        .take(SHOWN)
        .cloned()
        .collect();
    let body = html! {
        h1 { "Webhook deliveries" }
        @if deliveries.is_empty() { p { "Nothing has been delivered yet." } }
        ul.list {
            @for delivery in &deliveries {
                li {
                    (outcome(delivery)) " "
                    a href={ "/-/deliveries/" (delivery.id) } { strong { (headline(delivery)) } }
                    @if delivery.redelivery { " " span.muted { "redelivered" } }
                    br;
                    span.muted { (delivery.delivered_at) ", " (delivery.duration.as_millis()) " ms, " (delivery.guid) }
                }
            }
        }
    };
    Ok(page("Webhook deliveries", &[], &body))
}

/// `GET /-/deliveries/{id}`
pub(super) async fn one(State(inner): State<Arc<Inner>>, Path(id): Path<u64>) -> PageAnswer {
    let delivery = {
        let state = inner.state();
        state
            .deliveries
            .iter()
            .find(|delivery| delivery.id == id)
            .cloned()
            .ok_or_else(ForgeError::not_found)?
    };
    let payload: serde_json::Value = serde_json::from_slice(&delivery.payload).unwrap_or_default();
    let payload = serde_json::to_string_pretty(&payload).unwrap_or_default();
    let target = match &delivery.target {
        HookTarget::Repository(name) => format!("the repository {name}"),
        HookTarget::App(app) => format!("App {app}"),
    };
    let body = html! {
        h1 { (headline(&delivery)) }
        p { (outcome(&delivery)) " " span.muted { (delivery.delivered_at) ", " (delivery.duration.as_millis()) " ms" } }
        p { "Of " (target) " to " code { (delivery.url) } }
        (button(&inner, &delivery))
        h2 { "Request" }
        pre tabindex="0" {
            @for (name, value) in &delivery.request_headers { (name) ": " (value) "\n" }
            "\n" (payload)
        }
        h2 { "Answer" }
        pre tabindex="0" {
            @for (name, value) in &delivery.response_headers { (name) ": " (value) "\n" }
            "\n" (delivery.response_body)
        }
    };
    Ok(page(&headline(&delivery), &[], &body))
}

/// `POST /-/deliveries/{id}/redeliver`
pub(super) async fn redeliver(
    State(inner): State<Arc<Inner>>,
    Path(id): Path<u64>,
    Form(pressed): Form<Pressed>,
) -> PageAnswer {
    pressed.check(&inner)?;
    webhook::redeliver(&inner, id)?;
    see("/-/deliveries")
}
