//! Until when: a time, or a duration from the comment on.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Until when something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A time, in seconds since 1970 UTC.
    At(i64),
    /// So many seconds from the comment on.
    For(i64),
}

/// The longest duration: ten years, in seconds. Whoever means longer means no end.
const LONGEST_S: i64 = 10 * 366 * 86_400;

impl Until {
    /// The time in seconds since 1970 UTC, for a command of the time `now_s`.
    #[must_use]
    pub const fn from(self, now_s: i64) -> i64 {
        match self {
            Self::At(time) => time,
            Self::For(seconds) => now_s.saturating_add(seconds),
        }
    }

    /// Reads `90m`, `1d12h`, `2026-11-24`, `2026-11-24T09:00`, `2026-11-24T09:00+01:00`. Without a zone it is UTC.
    pub(super) fn parse(word: &str) -> Option<Self> {
        duration(word).map(Self::For).or_else(|| time(word).map(Self::At))
    }
}

fn duration(word: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut number: Option<i64> = None;
    for c in word.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit.into())?);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    (number.is_none() && (1..=LONGEST_S).contains(&total)).then_some(total)
}

fn time(word: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(word) {
        return Some(time.timestamp());
    }
    for format in ["%Y-%m-%dT%H:%M%:z", "%Y-%m-%dT%H:%M%#z"] {
        if let Ok(time) = DateTime::parse_from_str(word, format) {
            return Some(time.timestamp());
        }
    }
    let word = word.strip_suffix('Z').unwrap_or(word);
    for format in ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(word, format) {
            return Some(time.and_utc().timestamp());
        }
    }
    let date = NaiveDate::parse_from_str(word, "%Y-%m-%d").ok()?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp())
}

/// A time in seconds since 1970 UTC as people read it: `2026-11-24 09:00 UTC`.
#[must_use]
pub fn utc(time_s: i64) -> String {
    DateTime::from_timestamp(time_s, 0).map_or_else(
        || format!("{time_s} s after 1970"),
        |time| time.format("%Y-%m-%d %H:%M UTC").to_string(),
    )
}
