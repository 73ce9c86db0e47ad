//! The primary rate limit: counted and told, never enforced. Faults make it bite.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::call::Call;
use super::{Answer, ok};
use crate::clock::Timestamp;

/// Calls that one identity has each hour.
const LIMIT: u64 = 5_000;
const WINDOW_SECONDS: i64 = 3_600;

/// Counts calls for each identity in windows of an hour.
#[derive(Debug, Default)]
pub(crate) struct RateCounter {
    windows: Mutex<HashMap<String, Window>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    begun: Timestamp,
    used: u64,
}

impl Window {
    fn reset(self) -> i64 {
        self.begun.unix() + WINDOW_SECONDS
    }

    fn remaining(self) -> u64 {
        LIMIT.saturating_sub(self.used)
    }

    /// Adds the headers that every answer has, unless a fault has put in others.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let values = [
            ("x-ratelimit-limit", LIMIT.to_string()),
            ("x-ratelimit-remaining", self.remaining().to_string()),
            ("x-ratelimit-used", self.used.to_string()),
            ("x-ratelimit-reset", self.reset().to_string()),
            ("x-ratelimit-resource", "core".to_owned()),
        ];
        for (name, value) in values {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.entry(name).or_insert(value);
            }
        }
    }
}

impl RateCounter {
    /// Counts calls of an identity and gives its window.
    pub(super) fn count(&self, identity: &str, calls: u64) -> Window {
        let now = Timestamp::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window { begun: now, used: 0 };
        let window = windows.entry(identity.to_owned()).or_insert(fresh);
        if window.reset() <= now.unix() {
            *window = fresh;
        }
        window.used += calls;
        *window
    }
}

/// `GET /rate_limit`
pub(super) async fn get(call: Call) -> Answer {
    let window = call.inner.rates.count(call.actor.login(), 0);
    let limit = |limit: u64, used: u64| -> Value {
        let remaining = limit.saturating_sub(used);
        json!({"limit": limit, "remaining": remaining, "used": used, "reset": window.reset()})
    };
    let core = limit(LIMIT, window.used);
    ok(&json!({
        "resources": {"core": core, "search": limit(30, 0), "graphql": limit(LIMIT, 0)},
        "rate": core,
    }))
}
