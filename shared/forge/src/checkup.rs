//! Looks whether GitHub is as a fleet needs it: reachable, with the permissions and events, and of the same time.

use std::collections::BTreeMap;

use lockflight_promotion::Login;
use serde::Deserialize;

use crate::answer::Answer;
use crate::client::Forge;
use crate::config::{Access, Permissions};
use crate::error::ForgeError;
use crate::limit::text;
use crate::route::{APP_SELF, USER};
use crate::session::Credential;
use crate::time;

/// The event that sets promotions off.
const EVENT: &str = "pull_request";
/// What an App can do without, and what is lost then.
const OPTIONAL: [(&str, &str, &str); 2] = [
    (
        "checks",
        "write",
        "progress is shown as a commit status, and checks are not waited for",
    ),
    ("members", "read", "approvals by teams cannot be counted"),
];

/// What GitHub says of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkup {
    /// Who we are.
    pub login: Login,
    /// What an App lacks of what Lockflight needs, in the words of GitHub's settings; nothing is known of a personal token.
    pub lacks: Vec<String>,
    /// What it lacks and can do without, and what is lost then: `the permission members: read (...)`.
    pub lacks_optional: Vec<String>,
    /// By how many seconds GitHub's clock is ahead of ours; none if it did not tell. An App's signature is refused beyond about 60.
    pub clock_ahead_s: Option<i64>,
    /// How many calls are left until the limit is reset, and how many there are in all; none if it did not tell.
    pub budget: Option<(u64, u64)>,
}

#[derive(Deserialize)]
struct Me {
    slug: Option<String>,
    login: Option<Login>,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
    #[serde(default)]
    events: Vec<String>,
}

impl Forge {
    /// Asks GitHub who we are, and looks at the answer.
    ///
    /// # Errors
    /// When GitHub can't be asked, or does not take our credentials.
    pub async fn checkup(&self) -> Result<Checkup, ForgeError> {
        let session = self.session();
        let asked = match &session.credential {
            Credential::App(app) => Some(app.asked()),
            Credential::Token { .. } | Credential::Grant(_) => None,
        };
        let is_app = asked.is_some();
        let (route, path) = if is_app {
            (&APP_SELF, "/app")
        } else {
            (&USER, "/user")
        };
        let answer = session.read(route, path).await?;
        let clock_ahead_s = header(&answer, "date")
            .and_then(|date| time::parse_http(&date))
            .map(|date| date.saturating_sub(time::now()));
        let number = |name: &str| header(&answer, name)?.parse().ok();
        let budget = number("x-ratelimit-remaining").zip(number("x-ratelimit-limit"));
        let me: Me = answer.json()?;
        let login = match (&me.slug, me.login.clone()) {
            (Some(slug), _) if is_app => Login::parse(format!("{slug}[bot]"))
                .map_err(|error| ForgeError::config(format!("the App's slug is unusable: {error}")))?,
            (_, Some(login)) => login,
            _ => return Err(ForgeError::config("GitHub does not say who we are".to_owned())),
        };
        let lacks = asked.map(|asked| me.lacks(asked)).unwrap_or_default();
        let lacks_optional = asked.map(|asked| me.lacks_optional(asked)).unwrap_or_default();
        Ok(Checkup {
            login,
            lacks,
            lacks_optional,
            clock_ahead_s,
            budget,
        })
    }
}

impl Me {
    fn has(&self, name: &str, wanted: &str) -> bool {
        let given = self.permissions.get(name).map(String::as_str);
        given == Some(wanted) || given == Some("write")
    }

    /// What an App lacks that only some uses need. One that only approves needs none of it.
    fn lacks_optional(&self, asked: Permissions) -> Vec<String> {
        OPTIONAL
            .iter()
            .filter(|(name, wanted, _)| asked.statuses == Access::Write && !self.has(name, wanted))
            .map(|(name, wanted, lost)| format!("the permission {name}: {wanted} ({lost})"))
            .collect()
    }

    /// What an App lacks of what it asks for.
    fn lacks(&self, asked: Permissions) -> Vec<String> {
        let mut lacks: Vec<String> = asked
            .asked()
            .filter(|(name, wanted)| !self.has(name, wanted))
            .map(|(name, wanted)| format!("the permission {name}: {wanted}"))
            .collect();
        // One that only approves is sent nothing.
        if asked.statuses == Access::Write && !self.events.iter().any(|event| event == EVENT) {
            lacks.push(format!("a subscription to the event {EVENT}"));
        }
        lacks
    }
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    text(&answer.reply.headers, name).map(str::to_owned)
}
