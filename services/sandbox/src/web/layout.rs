//! The frame around every page.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use maud::{DOCTYPE, Markup, html};

use crate::forge::Inner;

const STYLE: &str = include_str!("style.css");

/// Puts a body into the frame. The trail leads from the list of repositories to here.
pub(super) fn document(title: &str, trail: &[(&str, String)], body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Lockflight sandbox" }
                link rel="stylesheet" href="/-/style.css";
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    nav aria-label="Where you are" {
                        a href="/" { "Sandbox" }
                        @for (name, address) in trail {
                            span aria-hidden="true" { " / " }
                            a href=(address) { (name) }
                        }
                    }
                    a href="/-/deliveries" { "Webhook deliveries" }
                }
                main id="content" { (body) }
                footer { "A forge on this machine, for looking and testing. Nothing here leaves it." }
            }
        }
    }
}

/// `GET /-/style.css`
pub(super) async fn style() -> Response {
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/css; charset=utf-8"),
        )],
        STYLE,
    )
        .into_response()
}

/// `GET /avatars/u/{id}`: the first letter of the login on a colour of its own.
pub(super) async fn avatar(State(inner): State<Arc<Inner>>, Path(id): Path<u64>) -> Response {
    let login = {
        let state = inner.state();
        state
            .users
            .values()
            .find(|user| user.id == id)
            .map(|user| user.login.clone())
    };
    let letter = login
        .and_then(|login| login.chars().next())
        .unwrap_or('?')
        .to_uppercase()
        .to_string();
    let hue = id.wrapping_mul(47) % 360;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" width="40" height="40" {
            rect width="40" height="40" rx="20" fill={ "hsl(" (hue) " 45% 40%)" } {}
            text x="20" y="27" text-anchor="middle" font-family="sans-serif" font-size="20" fill="#fff" { (letter) }
        }
    };
    let kind = HeaderValue::from_static("image/svg+xml");
    ([(header::CONTENT_TYPE, kind)], picture.into_string()).into_response()
}

/// Shows a state as a coloured word.
pub(super) fn badge(kind: &str, text: &str) -> Markup {
    html! { span class={ "badge " (kind) } { (text) } }
}

/// Shows a commit as a short link.
pub(super) fn commit_link(repository: &str, sha: &str) -> Markup {
    html! { a href={ "/" (repository) "/commit/" (sha) } { code { (sha.get(..7).unwrap_or(sha)) } } }
}

/// Shows a unified diff with its lines coloured.
pub(super) fn diff(text: &str) -> Markup {
    /// A longer diff is cut off.
    const LINES: usize = 3_000;
    let mut lines = text.lines();
    html! {
        pre.diff tabindex="0" {
            @for line in lines.by_ref().take(LINES) {
                @let kind = match line.as_bytes().first() {
                    _ if line.starts_with("diff --git ") => "file",
                    _ if line.starts_with("+++") || line.starts_with("---") => "meta",
                    Some(b'+') => "added",
                    Some(b'-') => "removed",
                    Some(b'@') => "hunk",
                    Some(b' ') => "",
                    _ => "meta",
                };
                span class=(kind) { (line) "\n" }
            }
        }
        @if lines.next().is_some() { p { "The rest of the diff is left out." } }
    }
}
