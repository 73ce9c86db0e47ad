//! Whether Redis is well, for probes and for the doctor.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::link::{Link, Session, Standing};
use super::trouble::Trouble;
use crate::BackendError;

/// What Redis says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its version, if it says.
    pub version: Option<String>,
    /// How long it takes to answer.
    pub latency: Duration,
    /// By how many milliseconds its clock is ahead of ours; negative when it is behind. Half of [`Health::latency`] is how exact that is.
    /// Nothing depends on it: it is for people who look for what is wrong.
    pub clock_ahead_ms: i64,
    /// What it does when it is out of memory (`maxmemory-policy`), if it says. With anything but `noeviction` it may throw locks away.
    pub eviction: Option<String>,
}

/// Redis can't be used.
#[derive(Debug, thiserror::Error)]
#[error("Redis at {redis} can't be used; work goes on without its locks, at lower concurrency")]
pub struct RedisUnusable {
    /// Its address, without user and password.
    pub redis: String,
    /// What was reported.
    #[source]
    pub source: BackendError,
}

impl RedisUnusable {
    pub(super) fn new(redis: &str, trouble: Trouble) -> Self {
        Self {
            redis: redis.to_owned(),
            source: BackendError::new(trouble),
        }
    }
}

/// Asks Redis how it is.
pub(super) async fn ask(link: &Link) -> Result<Health, Trouble> {
    let session = match link.standing().await {
        Standing::Up(session) => session,
        Standing::Down(trouble) => return Err(trouble),
        Standing::Closed => return Err(Trouble::Away),
    };
    let before = Instant::now();
    let (seconds, micros): (i64, i64) = session.command("TIME").await?;
    let latency = before.elapsed();
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ours = i64::try_from(ours.saturating_sub(latency / 2).as_millis()).unwrap_or(i64::MAX);
    let theirs = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
    Ok(Health {
        version: info(&session, "server", "redis_version").await,
        latency,
        clock_ahead_ms: theirs.saturating_sub(ours),
        eviction: info(&session, "memory", "maxmemory_policy").await,
    })
}

async fn info(session: &Session, section: &str, field: &str) -> Option<String> {
    let text: String = session.optional("INFO", section).await?;
    field_of(&text, field)
}

/// A field of what INFO tells.
fn field_of(text: &str, field: &str) -> Option<String> {
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == field)?;
    // It is shown to people.
    let value: String = value
        .trim()
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(40)
        .collect();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_in_what_redis_tells() {
        let text = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nempty:\r\n";
        assert_eq!(field_of(text, "redis_version").as_deref(), Some("7.0.15"));
        assert_eq!(field_of(text, "empty"), None);
        assert_eq!(field_of(text, "version"), None);
    }
}
