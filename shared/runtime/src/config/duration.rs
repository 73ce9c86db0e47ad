//! Times in a configuration: `"500ms"`, `"4s"`, `"2m"`, `"1h"`.
//!
//! Use it as `#[serde(with = "lockflight_runtime::config::duration")]`.

use std::time::Duration;

use serde::de::{Deserialize as _, Deserializer, Error as _};

/// Reads a whole number with its unit: `ms`, `s`, `m` or `h`.
///
/// # Errors
/// When it is anything else.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is not a time; write a whole number and its unit, such as \"500ms\", \"4s\", \"2m\" or \"1h\""
        ))
    })
}

/// The time that a text such as `4s` means, if it means one.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let ms = match unit.trim_start() {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    ms.map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_whole_number_and_its_unit() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("4s"), Some(Duration::from_secs(4)));
        assert_eq!(parse(" 2 m "), Some(Duration::from_secs(120)));
        assert_eq!(parse("1h"), Some(Duration::from_secs(3600)));
        for bad in [
            "",
            "4",
            "s",
            "-1s",
            "1.5s",
            "4 days",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
