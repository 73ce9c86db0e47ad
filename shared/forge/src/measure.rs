//! What is counted of the requests to GitHub.

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use lockflight_promotion::telemetry::{SCOPE, attribute, buckets, metric, unit};
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

use crate::limit::text;
use crate::route::{Route, Verb};

struct Instruments {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    remaining: Gauge<u64>,
    limit: Gauge<u64>,
    reset: Gauge<u64>,
    hits: Counter<u64>,
    writes: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter(SCOPE);
    let counter = |name, unit, description| {
        meter
            .u64_counter(name)
            .with_unit(unit)
            .with_description(description)
            .build()
    };
    let gauge = |name, unit, description| {
        meter
            .u64_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .build()
    };
    Instruments {
        requests: counter(
            metric::GITHUB_REQUESTS,
            unit::REQUESTS,
            "Requests to GitHub, tries that failed included.",
        ),
        duration: meter
            .f64_histogram(metric::GITHUB_REQUEST_DURATION)
            .with_unit(unit::SECONDS)
            .with_description("One request to GitHub.")
            .with_boundaries(buckets::SHORT.to_vec())
            .build(),
        remaining: gauge(
            metric::GITHUB_RATE_LIMIT_REMAINING,
            unit::REQUESTS,
            "What is left of a primary limit in its window, as the last answer told it.",
        ),
        limit: gauge(
            metric::GITHUB_RATE_LIMIT_LIMIT,
            unit::REQUESTS,
            "A primary limit.",
        ),
        reset: gauge(
            metric::GITHUB_RATE_LIMIT_RESET,
            unit::SECONDS,
            "When the window of a primary limit ends, in seconds since 1970 UTC.",
        ),
        hits: counter(metric::GITHUB_LIMIT_HITS, unit::COUNT, "Refusals for a limit."),
        writes: counter(
            metric::GITHUB_CONTENT_WRITES,
            unit::REQUESTS,
            "Requests that make something that people see.",
        ),
    }
});

/// `2xx`, `3xx`, `4xx`, `5xx`, or `none` when no answer came.
pub(crate) fn class(status: Option<StatusCode>) -> &'static str {
    match status.map(|status| status.as_u16() / 100) {
        None => "none",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
    }
}

/// A request was sent; `status` is none when no answer came.
pub(crate) fn requested(route: &Route, status: Option<StatusCode>, took: Duration) {
    let kind = [
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, route.verb.as_str()),
        KeyValue::new(attribute::URL_TEMPLATE, route.template),
    ];
    INSTRUMENTS.duration.record(took.as_secs_f64(), &kind);
    let [method, template] = kind;
    let class = KeyValue::new(attribute::STATUS_CLASS, class(status));
    INSTRUMENTS.requests.add(1, &[method, template, class]);
    if makes_content(route) {
        INSTRUMENTS.writes.add(1, &[]);
    }
}

/// Pull requests, comments, reviews and statuses: what GitHub calls content, of which it takes about 80 in a minute
/// (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits>).
fn makes_content(route: &Route) -> bool {
    route.verb == Verb::Post && route.template.starts_with("/repos/") && !route.template.contains("/hooks/")
}

/// An answer tells of the primary limit of `whose` credentials.
pub(crate) fn limits(whose: &str, headers: &HeaderMap) {
    let number = |name| text(headers, name).and_then(|value| value.parse::<u64>().ok());
    let attributes = [
        KeyValue::new(
            attribute::RESOURCE,
            resource(text(headers, "x-ratelimit-resource").unwrap_or("core")),
        ),
        KeyValue::new(attribute::CREDENTIAL, whose.to_owned()),
    ];
    for (gauge, name) in [
        (&INSTRUMENTS.remaining, "x-ratelimit-remaining"),
        (&INSTRUMENTS.limit, "x-ratelimit-limit"),
        (&INSTRUMENTS.reset, "x-ratelimit-reset"),
    ] {
        if let Some(value) = number(name) {
            gauge.record(value, &attributes);
        }
    }
}

/// The resources that GitHub documents and that are asked here; a server may say anything.
fn resource(name: &str) -> &'static str {
    ["core", "graphql", "search", "integration_manifest"]
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or(lockflight_promotion::telemetry::OTHER)
}

/// A request was refused for a limit.
pub(crate) fn limited(headers: &HeaderMap) {
    let is_primary = text(headers, "x-ratelimit-remaining") == Some("0");
    let which = if is_primary { "primary" } else { "secondary" };
    INSTRUMENTS
        .hits
        .add(1, &[KeyValue::new(attribute::REASON, which)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route;

    #[test]
    fn what_people_see_is_content() {
        for made in [
            &route::CREATE_PULL,
            &route::CREATE_COMMENT,
            &route::SET_STATUS,
            &route::CREATE_REVIEW,
        ] {
            assert!(makes_content(made), "{}", made.template);
        }
        for other in [
            &route::PULLS,
            &route::APP_TOKEN,
            &route::REPO_REDELIVER,
            &route::GRAPHQL,
        ] {
            assert!(!makes_content(other), "{}", other.template);
        }
    }

    #[test]
    fn a_resource_that_is_not_known_is_folded() {
        assert_eq!(resource("graphql"), "graphql");
        assert_eq!(resource("made_up"), "_OTHER");
    }
}
