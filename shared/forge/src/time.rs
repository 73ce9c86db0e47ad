//! GitHub's dates, as seconds since 1970 UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize as _, Deserializer, Error as _};

/// The seconds since 1970 UTC of an ISO 8601 date such as `2026-11-22T10:00:00Z`.
pub(crate) fn parse_iso(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|date| date.timestamp())
}

/// The seconds since 1970 UTC of an HTTP date such as `Sun, 22 Nov 2026 10:00:00 GMT`.
pub(crate) fn parse_http(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc2822(text)
        .ok()
        .map(|date| date.timestamp())
}

/// The seconds since 1970 UTC by our own clock.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Reads an ISO 8601 date.
pub(crate) fn iso<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_iso(&text).ok_or_else(|| D::Error::custom("a date is not in ISO 8601"))
}

/// Reads an ISO 8601 date that may be null.
pub(crate) fn iso_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(None),
        Some(text) => parse_iso(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom("a date is not in ISO 8601")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_date_are_read() {
        assert_eq!(parse_iso("1970-01-02T00:00:00Z"), Some(86_400));
        assert_eq!(parse_iso("1970-01-01T01:00:00.250+01:00"), Some(0));
        assert_eq!(parse_http("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
        assert_eq!(parse_iso("yesterday"), None);
    }
}
