//! Rate limits: how a refusal names its wait, and the gate that keeps everybody else from knocking meanwhile.
//!
//! The order of GitHub's own advice is followed: `retry-after`, then `x-ratelimit-remaining: 0` with its reset, then a
//! minute (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>). To go on asking while limited can
//! get an integration banned, so the gate refuses on our side until the wait is over. Two calls that are under way when a limit
//! is met may both meet it; that is accepted.

use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::time;

/// A limit without a word about how long.
const UNSAID: Duration = Duration::from_secs(60);
/// No window of GitHub's is longer than an hour; what says so is not believed.
const LONGEST: Duration = Duration::from_secs(3_700);

/// The wait that a refusal asks for, if it is about a limit.
pub(crate) fn wait(
    status: StatusCode,
    headers: &HeaderMap,
    message: &str,
    documentation: &str,
) -> Option<Duration> {
    if !matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let number = |name: &str| text(headers, name).and_then(|value| value.parse::<i64>().ok());
    // The server's clock, where it tells it: ours may be off.
    let now = text(headers, "date")
        .and_then(time::parse_http)
        .unwrap_or_else(time::now);
    let until = |at: i64| Duration::from_secs(u64::try_from(at.saturating_sub(now)).unwrap_or(0));

    let wait = if let Some(after) = text(headers, "retry-after") {
        after
            .parse::<u64>()
            .map(Duration::from_secs)
            .ok()
            .or_else(|| time::parse_http(after).map(until))
            .unwrap_or(UNSAID)
    } else if let (Some(0), Some(reset)) = (number("x-ratelimit-remaining"), number("x-ratelimit-reset")) {
        until(reset) + Duration::from_secs(1)
    } else if status == StatusCode::TOO_MANY_REQUESTS || speaks_of_a_limit(message, documentation) {
        UNSAID
    } else {
        return None;
    };
    Some(wait.min(LONGEST))
}

fn speaks_of_a_limit(message: &str, documentation: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("rate limit")
        || message.contains("abuse detection")
        || documentation.contains("rate-limits")
        || documentation.contains("secondary-rate")
}

/// A header as text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Closed while the credentials it belongs to are limited.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    until: Mutex<Option<Instant>>,
}

impl Gate {
    /// How much longer nobody may pass; none if it is open.
    pub(crate) fn closed_for(&self, now: Instant) -> Option<Duration> {
        let until = (*crate::wire::lock(&self.until))?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Closes for at least `wait`.
    pub(crate) fn close(&self, now: Instant, wait: Duration) {
        let until = now + wait;
        let mut current = crate::wire::lock(&self.until);
        if current.is_none_or(|current| current < until) {
            *current = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_refusal_names_its_wait_in_the_order_of_githubs_advice() {
        let date = ("date", "Thu, 01 Jan 1970 00:01:40 GMT");
        let cases: &[(u16, HeaderMap, &str, Option<u64>)] = &[
            (
                429,
                headers(&[("retry-after", "7"), ("x-ratelimit-remaining", "0")]),
                "",
                Some(7),
            ),
            (
                403,
                headers(&[("retry-after", "Thu, 01 Jan 1970 00:02:00 GMT"), date]),
                "",
                Some(20),
            ),
            (
                403,
                headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "130"), date]),
                "",
                Some(31),
            ),
            (
                403,
                headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "90"), date]),
                "",
                Some(1),
            ),
            (429, headers(&[]), "", Some(60)),
            (
                403,
                headers(&[]),
                "You have exceeded a secondary rate limit.",
                Some(60),
            ),
            (403, headers(&[("retry-after", "999999")]), "", Some(3_700)),
            (
                403,
                headers(&[("x-ratelimit-remaining", "12")]),
                "Resource not accessible by integration",
                None,
            ),
            (422, headers(&[("retry-after", "7")]), "", None),
        ];
        for (status, headers, message, expected) in cases {
            let found = wait(StatusCode::from_u16(*status).unwrap(), headers, message, "");
            assert_eq!(
                found,
                expected.map(Duration::from_secs),
                "{status} {headers:?} {message}"
            );
        }
    }

    #[test]
    fn a_gate_opens_again_when_the_longest_wait_is_over() {
        let gate = Gate::default();
        let now = Instant::now();
        assert_eq!(gate.closed_for(now), None);
        gate.close(now, Duration::from_secs(60));
        gate.close(now, Duration::from_secs(5));
        assert_eq!(gate.closed_for(now), Some(Duration::from_secs(60)));
        assert_eq!(gate.closed_for(now + Duration::from_secs(60)), None);
    }
}
