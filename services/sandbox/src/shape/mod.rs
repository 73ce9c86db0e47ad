//! The JSON of GitHub's objects, with every field that its OpenAPI requires.
//!
//! One shape serves REST and webhooks; where the two differ, the webhook has a function of its own.

mod app;
mod commit;
mod conversation;
mod pull_request;
mod repository;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::forge::Inner;
use crate::ids::node_id;
use crate::model::{User, UserKind};
use crate::state::State;

/// Writes objects as GitHub's JSON.
pub(crate) struct Shaper<'a> {
    state: &'a State,
    /// The address of the web pages.
    web: String,
    /// The address of the API.
    api: String,
}

impl Inner {
    pub(crate) fn shaper<'a>(&self, state: &'a State) -> Shaper<'a> {
        Shaper {
            state,
            web: self.url(),
            api: self.api_url(),
        }
    }
}

/// Escapes a login for a URL: a bot's has brackets.
fn in_url(login: &str) -> String {
    login.replace('[', "%5B").replace(']', "%5D")
}

/// Escapes the segments of a path for a URL.
pub(crate) fn path_in_url(path: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(char::from(byte));
        } else if write!(escaped, "%{byte:02X}").is_err() {
            // Writing to a String cannot fail.
            break;
        }
    }
    escaped
}

impl Shaper<'_> {
    /// Shapes an account by login.
    pub(crate) fn user(&self, login: &str) -> Value {
        self.account(&self.state.user(login))
    }

    /// Shapes an account as its own address gives it: with its profile, of which the forge keeps nothing.
    pub(crate) fn profile(&self, login: &str) -> Value {
        let mut shape = self.user(login);
        for name in ["bio", "company", "email", "hireable", "location", "name"] {
            shape[name] = Value::Null;
        }
        for name in ["followers", "following", "public_gists", "public_repos"] {
            shape[name] = 0.into();
        }
        shape["blog"] = "".into();
        for name in ["created_at", "updated_at"] {
            shape[name] = json!(Timestamp::from_unix(0));
        }
        shape
    }

    fn account(&self, user: &User) -> Value {
        let login = in_url(&user.login);
        let url = format!("{}/users/{login}", self.api);
        let (kind, prefix, page) = match user.kind {
            UserKind::User => ("User", "U", login.clone()),
            UserKind::Organization => ("Organization", "O", login.clone()),
            UserKind::Bot => (
                "Bot",
                "BOT",
                format!("apps/{}", user.login.trim_end_matches("[bot]")),
            ),
        };
        json!({
            "login": user.login,
            "id": user.id,
            "node_id": node_id(prefix, user.id),
            "avatar_url": format!("{}/avatars/u/{}", self.web, user.id),
            "gravatar_id": "",
            "url": url,
            "html_url": format!("{}/{page}", self.web),
            "followers_url": format!("{url}/followers"),
            "following_url": format!("{url}/following{{/other_user}}"),
            "gists_url": format!("{url}/gists{{/gist_id}}"),
            "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
            "subscriptions_url": format!("{url}/subscriptions"),
            "organizations_url": format!("{url}/orgs"),
            "repos_url": format!("{url}/repos"),
            "events_url": format!("{url}/events{{/privacy}}"),
            "received_events_url": format!("{url}/received_events"),
            "type": kind,
            "user_view_type": "public",
            "site_admin": false,
        })
    }

    /// Shapes a member of a team. Nobody keeps teams within teams here.
    pub(crate) fn team_member(&self, login: &str) -> Value {
        let mut shape = self.user(login);
        shape["role"] = "member".into();
        shape["inherited"] = false.into();
        shape
    }

    /// Shapes an organization as webhooks carry it.
    pub(crate) fn organization(&self, login: &str) -> Value {
        let user = self.state.user(login);
        let url = format!("{}/orgs/{}", self.api, user.login);
        json!({
            "login": user.login,
            "id": user.id,
            "node_id": node_id("O", user.id),
            "url": url,
            "repos_url": format!("{url}/repos"),
            "events_url": format!("{url}/events"),
            "hooks_url": format!("{url}/hooks"),
            "issues_url": format!("{url}/issues"),
            "members_url": format!("{url}/members{{/member}}"),
            "public_members_url": format!("{url}/public_members{{/member}}"),
            "avatar_url": format!("{}/avatars/u/{}", self.web, user.id),
            "description": null,
        })
    }

    /// Guesses how an account relates to a repository, as GitHub's `author_association`.
    fn association(&self, owner: &str, login: &str) -> &'static str {
        let user = self.state.user(login);
        if user.kind == UserKind::Bot {
            "CONTRIBUTOR"
        } else if login.eq_ignore_ascii_case(owner) {
            "OWNER"
        } else if self.state.user(owner).kind == UserKind::Organization {
            "MEMBER"
        } else {
            "COLLABORATOR"
        }
    }
}

/// Puts `{"href": url}` under each name.
fn links<const N: usize>(links: [(&str, String); N]) -> Value {
    let links: Map<String, Value> = links
        .into_iter()
        .map(|(name, url)| (name.to_owned(), json!({"href": url})))
        .collect();
    links.into()
}
