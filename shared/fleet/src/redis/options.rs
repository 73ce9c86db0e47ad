//! Where Redis is, and how we behave with it.

use std::fmt;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};
use secrecy::{ExposeSecret as _, SecretString};

use crate::member::is_plain;

/// How the locks and the membership behave. The defaults are for production.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where Redis is.
    pub uri: RedisUri,
    /// What every key and channel begins with, so that several fleets can share one Redis.
    pub prefix: KeyPrefix,
    /// How long a repository's lease lasts when it is not renewed.
    pub lease: Duration,
    /// How often a waiter asks when nothing woke it. One that has not asked for three times as long, and a little, loses its place.
    pub poll: Duration,
    /// How long an answer of Redis may take. After that Redis counts as away.
    pub command_timeout: Duration,
    /// How often a member says that it lives.
    pub heartbeat: Duration,
    /// After how long without a heartbeat a member is no more: at least twice as long as [`RedisOptions::heartbeat`].
    pub member_expiry: Duration,
    /// How many repositories this process works on at once while Redis is away.
    pub degraded_concurrency: usize,
}

impl RedisOptions {
    /// The defaults, with that Redis.
    #[must_use]
    pub fn new(uri: RedisUri) -> Self {
        Self {
            uri,
            prefix: KeyPrefix::default(),
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(2),
            command_timeout: Duration::from_secs(2),
            heartbeat: Duration::from_secs(3),
            member_expiry: Duration::from_secs(10),
            degraded_concurrency: 2,
        }
    }

    /// Checks the options alone, without asking Redis anything. [`Redis::start`](super::Redis::start) begins with it.
    ///
    /// # Errors
    /// When they could not work; says which, and why.
    pub fn check(&self) -> Result<(), InvalidOptions> {
        let shortest = Duration::from_millis(10);
        let durations = [
            ("lease", self.lease),
            ("poll", self.poll),
            ("command timeout", self.command_timeout),
            ("heartbeat", self.heartbeat),
        ];
        for (name, duration) in durations {
            if duration < shortest {
                return Err(InvalidOptions::TooShort { name, shortest });
            }
        }
        if self.command_timeout >= self.lease {
            return Err(InvalidOptions::TimeoutBeyondLease);
        }
        if self.member_expiry < self.heartbeat * 2 {
            return Err(InvalidOptions::ExpiryBeforeHeartbeat);
        }
        if self.degraded_concurrency == 0 {
            return Err(InvalidOptions::NothingWithoutRedis);
        }
        Ok(())
    }

    /// After how long without asking a waiter has no place in a line any more.
    pub(super) fn patience(&self) -> Duration {
        self.poll * 3 + self.command_timeout * 2
    }

    /// How long a lease is good for on the local clock, from the moment before it was asked for. Less than what Redis keeps, for what may
    /// happen between a check and the effect, and for clocks that do not run alike.
    pub(super) fn hold(&self) -> Duration {
        self.lease
            .saturating_sub((self.lease / 10).max(Duration::from_millis(1)))
    }
}

/// Why options can't be worked with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOptions {
    /// The client library can't use the address.
    #[error("the address of Redis can't be used")]
    Address,
    /// A duration is too short to be meant.
    #[error("the {name} of Redis' locks is less than {shortest:?}")]
    TooShort {
        /// Which.
        name: &'static str,
        /// The least that it may be.
        shortest: Duration,
    },
    /// A lease could be over before Redis answers.
    #[error("the command timeout is not less than the lease: a lease could end before Redis answers")]
    TimeoutBeyondLease,
    /// Members would come and go all the time.
    #[error("the members' expiry is less than two heartbeats: members would come and go all the time")]
    ExpiryBeforeHeartbeat,
    /// Nothing would go on while Redis is away.
    #[error("the concurrency without Redis is 0: nothing would go on while Redis is away")]
    NothingWithoutRedis,
}

/// Where Redis is: `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. What it shows of itself never has the
/// user or the password.
#[derive(Clone)]
pub struct RedisUri {
    uri: SecretString,
    shown: String,
}

/// Why a text is not the address of a Redis. The text itself is left out: it may have a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address of Redis {problem}; write redis://[user:password@]host[:port][/database], or rediss:// for TLS"
)]
pub struct InvalidRedisUri {
    /// What is wrong.
    problem: &'static str,
}

impl RedisUri {
    /// Checks an address and keeps it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(uri: impl Into<String>) -> Result<Self, InvalidRedisUri> {
        let uri = uri.into();
        let invalid = |problem| Err(InvalidRedisUri { problem });
        if uri.is_empty() {
            return invalid("is empty");
        }
        let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("redis" | "rediss")) {
            return invalid("begins with neither redis:// nor rediss://");
        }
        if uri.contains('#') {
            return invalid("has a '#', which would switch off checks of TLS (write %23 within a password)");
        }
        if uri.contains('?') {
            return invalid("has a '?': there is nothing to set there (write %3F within a password)");
        }
        // The library's own message could show a part of the password.
        let Ok(info) = uri.as_str().into_connection_info() else {
            return invalid(
                "can't be read: the host is missing, or the port or the database is not a number",
            );
        };
        let (scheme, host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => ("redis", host, port),
            ConnectionAddr::TcpTls { host, port, .. } => ("rediss", host, port),
            _ => return invalid("is neither of TCP nor of TLS"),
        };
        if info.redis_settings().db() < 0 {
            return invalid("has a database below 0");
        }
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let database = info.redis_settings().db();
        let shown = if database == 0 {
            format!("{scheme}://{host}:{port}")
        } else {
            format!("{scheme}://{host}:{port}/{database}")
        };
        Ok(Self {
            uri: SecretString::from(uri),
            shown,
        })
    }

    /// The address without user and password, for people to read.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// What the client library needs. `None` is impossible after [`RedisUri::parse`].
    pub(super) fn connection_info(&self) -> Option<ConnectionInfo> {
        let info = self.uri.expose_secret().into_connection_info().ok()?;
        // RESP3 brings hints on the same connection as answers.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Some(info.set_redis_settings(settings))
    }
}

impl fmt::Debug for RedisUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisUri").field(&self.shown).finish()
    }
}

impl fmt::Display for RedisUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What every key and channel begins with: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`. `lockflight` if nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(String);

/// A prefix of keys that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the prefix of Redis' keys has 1 to 64 of the characters A-Z a-z 0-9 . _ -")]
pub struct InvalidKeyPrefix;

impl KeyPrefix {
    /// Checks a prefix and keeps it.
    ///
    /// # Errors
    /// When it has other characters, none, or too many.
    pub fn parse(prefix: impl Into<String>) -> Result<Self, InvalidKeyPrefix> {
        let prefix = prefix.into();
        let fits = (1..=64).contains(&prefix.len()) && prefix.bytes().all(is_plain);
        if fits {
            Ok(Self(prefix))
        } else {
            Err(InvalidKeyPrefix)
        }
    }

    /// The prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("lockflight".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(uri: &str) -> String {
        RedisUri::parse(uri).unwrap_err().to_string()
    }

    #[test]
    fn an_address_shows_everything_but_its_secrets() {
        let cases = [
            ("redis://localhost", "redis://localhost:6379"),
            (
                "redis://:pass%20word@redis.example:7000/3",
                "redis://redis.example:7000/3",
            ),
            (
                "rediss://user:hunter2@redis.example",
                "rediss://redis.example:6379",
            ),
            ("redis://user:hunter2@[::1]:7000", "redis://[::1]:7000"),
        ];
        for (uri, shown) in cases {
            let parsed = RedisUri::parse(uri).unwrap();
            assert_eq!(parsed.shown(), shown);
            assert_eq!(
                format!("{parsed} {parsed:?}"),
                format!("{shown} RedisUri({shown:?})")
            );
            let options = format!("{:?}", RedisOptions::new(parsed));
            for secret in ["pass", "word@", "hunter2", "user"] {
                assert!(!options.contains(secret), "{secret} in {options}");
            }
        }
    }

    #[test]
    fn user_and_password_reach_the_client_decoded() {
        let uri = RedisUri::parse("redis://us%40er:p%23%3Fw@h").unwrap();
        let info = uri.connection_info().unwrap();
        assert_eq!(info.redis_settings().username(), Some("us@er"));
        assert_eq!(info.redis_settings().password(), Some("p#?w"));
        assert_eq!(info.redis_settings().protocol(), ProtocolVersion::RESP3);
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        let cases = [
            ("", "is empty"),
            ("localhost:6379", "begins with neither"),
            ("amqp://u:hunter2@h", "begins with neither"),
            ("unix:///hunter2", "begins with neither"),
            ("redis+unix:///hunter2", "begins with neither"),
            ("redis://", "can't be read"),
            ("redis://u:hunter2@", "can't be read"),
            ("redis://u:hunter2@h:port", "can't be read"),
            ("redis://u:hunter2@h/base", "can't be read"),
            ("redis://u:hunter2@h/-1", "below 0"),
            ("rediss://u:hunter2@h#insecure", "checks of TLS"),
            ("redis://u:hunter2@h?protocol=resp2", "nothing to set"),
        ];
        for (uri, expected) in cases {
            let problem = problem(uri);
            assert!(problem.contains(expected), "{uri}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_prefix_has_no_character_that_means_something_in_a_key() {
        assert_eq!(KeyPrefix::default(), KeyPrefix::parse("lockflight").unwrap());
        for prefix in ["", "a b", "{a}", "a:b", "é", &"a".repeat(65)] {
            assert!(KeyPrefix::parse(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn options_that_could_not_work_are_refused() {
        let good = RedisOptions::new(RedisUri::parse("redis://localhost").unwrap());
        assert_eq!(good.check(), Ok(()));
        let with = |change: fn(&mut RedisOptions)| {
            let mut options = good.clone();
            change(&mut options);
            options.check().unwrap_err()
        };
        assert!(matches!(
            with(|options| options.poll = Duration::ZERO),
            InvalidOptions::TooShort { name: "poll", .. }
        ));
        assert_eq!(
            with(|options| options.command_timeout = options.lease),
            InvalidOptions::TimeoutBeyondLease
        );
        assert_eq!(
            with(|options| options.member_expiry = options.heartbeat),
            InvalidOptions::ExpiryBeforeHeartbeat
        );
        assert_eq!(
            with(|options| options.degraded_concurrency = 0),
            InvalidOptions::NothingWithoutRedis
        );
    }

    #[test]
    fn a_lease_ends_here_before_it_ends_in_redis() {
        let options = RedisOptions::new(RedisUri::parse("redis://localhost").unwrap());
        assert_eq!(options.hold(), Duration::from_secs(27));
    }
}
