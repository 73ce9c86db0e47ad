//! Who is in a fleet: names of processes, and what they do.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of a process among the fleet's: its host, its process id and something random, such as `node-3-417-9f86d081884c7d65`. 1 to
/// 128 of the characters `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(String);

/// A name of a process that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not 1 to 128 of the characters A-Z a-z 0-9 . _ -")]
pub struct InvalidMemberId {
    /// What was given, cut to 80 characters.
    pub value: String,
}

impl MemberId {
    /// Checks a name and keeps it.
    ///
    /// # Errors
    /// When it has other characters, none, or too many.
    pub fn parse(value: impl Into<String>) -> Result<Self, InvalidMemberId> {
        let value = value.into();
        if (1..=128).contains(&value.len()) && value.bytes().all(is_plain) {
            Ok(Self(value))
        } else {
            Err(InvalidMemberId {
                value: value.chars().take(80).collect(),
            })
        }
    }

    /// A new name for this process. Each call returns another.
    #[must_use]
    pub fn of_this_process() -> Self {
        let name = rustix::system::uname();
        Self::of(&name.nodename().to_string_lossy(), std::process::id(), &random())
    }

    fn of(host: &str, process: u32, random: &str) -> Self {
        let mut host: String = host
            .chars()
            .map(|c| if c.is_ascii() && is_plain(c as u8) { c } else { '-' })
            .take(64)
            .collect();
        if host.is_empty() {
            host.push_str("host");
        }
        Self(format!("{host}-{process}-{random}"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes webhooks.
    Ingress,
    /// Plans.
    Planner,
    /// Executes steps.
    Executor,
}

impl Role {
    /// The role's name: `ingress`, `planner` or `executor`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Planner => "planner",
            Self::Executor => "executor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The live members of a role, as one of them knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Redis has not been reached yet.
    Unknown,
    /// These, with the one who asks.
    Known(Arc<BTreeSet<MemberId>>),
}

impl Membership {
    /// The members, unless they are unknown.
    #[must_use]
    pub fn members(&self) -> Option<&BTreeSet<MemberId>> {
        match self {
            Self::Unknown => None,
            Self::Known(members) => Some(members),
        }
    }
}

/// 16 hexadecimal digits that nobody else has: hashed with keys that the operating system drew.
pub(crate) fn random() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", RandomState::new().hash_one((call, std::process::id())))
}

/// Whether a byte is fine in names that go into keys.
pub(crate) const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_name_that_says_where_it_is() {
        let id = MemberId::of("node 3.é", 417, "9f86d081884c7d65");
        assert_eq!(id.as_str(), "node-3.--417-9f86d081884c7d65");
        assert_eq!(MemberId::parse(id.as_str()), Ok(id));
        assert!(MemberId::of("", 1, "r").as_str().starts_with("host-1-"));
        let long = MemberId::of(&"h".repeat(300), u32::MAX, &random());
        assert_eq!(MemberId::parse(long.as_str()), Ok(long));
    }

    #[test]
    fn no_two_names_are_the_same() {
        let names: std::collections::HashSet<MemberId> =
            (0..1_000).map(|_| MemberId::of_this_process()).collect();
        assert_eq!(names.len(), 1_000);
        assert!(names.iter().all(|name| MemberId::parse(name.as_str()).is_ok()));
    }

    #[test]
    fn what_could_mean_something_in_a_key_is_no_name() {
        for value in ["", "a b", "a:b", "{a}", "a\n", &"a".repeat(129)] {
            assert!(MemberId::parse(value).is_err(), "{value:?}");
        }
    }
}
