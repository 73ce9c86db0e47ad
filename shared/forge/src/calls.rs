//! How many calls were made, and what is left of the limits.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::HeaderMap;

use crate::limit::text;
use crate::measure;
use crate::route::{Route, Verb};
use crate::wire::lock;

/// What a [`crate::Forge`] has asked of GitHub so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// One line per route, method and class of status, in the order of the routes.
    pub routes: Vec<RouteCalls>,
    /// What is left of the primary limit, by whose it is: `token`, `app` or `installation 5`.
    pub limits: BTreeMap<String, RateLimit>,
}

impl Calls {
    /// All requests together, tries that failed included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.routes.iter().map(|route| route.count).sum()
    }

    /// The requests of one method and route, such as `("POST", "/repos/{owner}/{repo}/pulls")`.
    #[must_use]
    pub fn of(&self, method: &str, route: &str) -> u64 {
        self.routes
            .iter()
            .filter(|line| line.method == method && line.route == route)
            .map(|line| line.count)
            .sum()
    }
}

/// The requests of one kind that ended alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCalls {
    /// The HTTP method.
    pub method: &'static str,
    /// The path with placeholders, as GitHub documents it.
    pub route: &'static str,
    /// `2xx`, `3xx`, `4xx`, `5xx`, or `none` when no answer came.
    pub status: &'static str,
    /// How many.
    pub count: u64,
}

/// A primary rate limit, as the last answer told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The calls in a window.
    pub limit: u64,
    /// The calls left in this window.
    pub remaining: u64,
    /// When the next window begins, in seconds since 1970 UTC.
    pub resets_at: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    routes: Mutex<BTreeMap<(&'static str, Verb, &'static str), u64>>,
    limits: Mutex<BTreeMap<String, RateLimit>>,
}

impl Counters {
    /// Counts a request; `status` is none when no answer came.
    pub(crate) fn count(&self, route: &Route, status: Option<http::StatusCode>) {
        *lock(&self.routes)
            .entry((route.template, route.verb, measure::class(status)))
            .or_default() += 1;
    }

    /// Takes note of the limit that an answer tells of.
    pub(crate) fn note_limit(&self, whose: &str, headers: &HeaderMap) {
        measure::limits(whose, headers);
        let number = |name| text(headers, name).and_then(|value| value.parse::<u64>().ok());
        // GraphQL and search have limits of their own.
        if text(headers, "x-ratelimit-resource").is_some_and(|resource| resource != "core") {
            return;
        }
        if let (Some(limit), Some(remaining), Some(reset)) = (
            number("x-ratelimit-limit"),
            number("x-ratelimit-remaining"),
            number("x-ratelimit-reset"),
        ) {
            let resets_at = i64::try_from(reset).unwrap_or(i64::MAX);
            let found = RateLimit {
                limit,
                remaining,
                resets_at,
            };
            lock(&self.limits).insert(whose.to_owned(), found);
        }
    }

    pub(crate) fn snapshot(&self) -> Calls {
        let routes = lock(&self.routes)
            .iter()
            .map(|(&(route, verb, status), &count)| RouteCalls {
                method: verb.as_str(),
                route,
                status,
                count,
            })
            .collect();
        Calls {
            routes,
            limits: lock(&self.limits).clone(),
        }
    }
}
