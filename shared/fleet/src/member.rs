//! Who is in a fleet: names of processes, and what they do.
//!
//! A process has two names. Its [`MemberId`] is new at each start: what dies with the process goes by it. The [`Seat`] stays from one start
//! to the next: what outlives the process, as the mirrors in its storage directory do, goes by that.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of a process among the fleet's: its seat, its process id, when it started and something random, such as
/// `node-3-417-019ab2f0c1d49f86d081`. 1 to 128 of the characters `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(String);

/// The name under which a process comes back after a restart: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`.
///
/// No two processes should have the same one at the same time. If they do, work is shared between them as between any others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seat(String);

/// A name of a seat that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not 1 to {LONGEST_SEAT} of the characters A-Z a-z 0-9 . _ -")]
pub struct InvalidSeat {
    /// What was given, cut to 80 characters.
    pub value: String,
}

/// How long the name of a seat may be, so that a whole name still has room.
const LONGEST_SEAT: usize = 64;

/// How many hexadecimal digits end the name of a process: twelve of the moment in which it was made, in milliseconds since 1970, and eight
/// random ones.
const MOMENT_DIGITS: usize = 12;
const END_DIGITS: usize = MOMENT_DIGITS + 8;

impl Seat {
    /// Checks a name and keeps it.
    ///
    /// # Errors
    /// When it has other characters, none, or too many.
    pub fn parse(value: impl Into<String>) -> Result<Self, InvalidSeat> {
        let value = value.into();
        if (1..=LONGEST_SEAT).contains(&value.len()) && value.bytes().all(is_plain) {
            Ok(Self(value))
        } else {
            Err(InvalidSeat {
                value: value.chars().take(80).collect(),
            })
        }
    }

    /// The seat of whoever keeps its files in this directory of this host. The host by itself is not enough: several processes may be on
    /// one, each with a directory of its own.
    #[must_use]
    pub fn of_directory(directory: &Path) -> Self {
        Self::of(&this_host(), directory)
    }

    fn of(host: &str, directory: &Path) -> Self {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let place = fnv(directory.as_os_str().as_encoded_bytes().iter().copied());
        let mut host = plain(host);
        host.truncate(LONGEST_SEAT - 9);
        // Its upper half depends on all bytes.
        Self(format!("{host}-{:08x}", place >> 32))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

    /// A new name for this process, whose seat is the host. Each call returns another.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::of(&plain(&this_host()), std::process::id(), now(), &random())
    }

    /// A new name for this process, which has that seat. Each call returns another.
    #[must_use]
    pub fn at(seat: &Seat) -> Self {
        Self::of(seat.as_str(), std::process::id(), now(), &random())
    }

    fn of(seat: &str, process: u32, millis: u64, random: &str) -> Self {
        let random: String = random.chars().take(END_DIGITS - MOMENT_DIGITS).collect();
        // Twelve digits are enough for some thousand years.
        let moment = millis & 0xFFFF_FFFF_FFFF;
        Self(format!("{seat}-{process}-{moment:0MOMENT_DIGITS$x}{random}"))
    }

    /// The seat: what stands before the process id, or all of a name that was not made here.
    #[must_use]
    pub fn seat(&self) -> &str {
        self.parts().map_or(&self.0, |(seat, _)| seat)
    }

    /// When the name was made, as far as it says so: the greater, the later.
    pub(crate) fn moment(&self) -> &str {
        self.parts().map_or("", |(_, end)| end)
    }

    fn parts(&self) -> Option<(&str, &str)> {
        let (rest, end) = self.0.rsplit_once('-')?;
        let (seat, process) = rest.rsplit_once('-')?;
        let is_ours = !seat.is_empty()
            && process.parse::<u32>().is_ok()
            && end.len() == END_DIGITS
            && end.bytes().all(|b| b.is_ascii_hexdigit());
        is_ours.then_some((seat, end))
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

/// A name as it can stand in ours; `host` if nothing is left of it.
fn plain(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii() && is_plain(c as u8) { c } else { '-' })
        .take(LONGEST_SEAT)
        .collect();
    if plain.is_empty() {
        "host".to_owned()
    } else {
        plain
    }
}

fn this_host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), finished by the end of splitmix64 (<https://prng.di.unimi.it/splitmix64.c>), since
/// its upper bits alone hardly depend on the last bytes.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// Whether a byte is fine in names that go into keys.
pub(crate) const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_name_that_says_where_it_is_and_since_when() {
        let id = MemberId::of(&plain("node 3.é"), 417, 0x19A_B2F0_C1D4, "9f86d081884c7d65");
        assert_eq!(id.as_str(), "node-3.--417-019ab2f0c1d49f86d081");
        assert_eq!((id.seat(), id.moment()), ("node-3.-", "019ab2f0c1d49f86d081"));
        assert_eq!(MemberId::parse(id.as_str()), Ok(id));
        assert_eq!(plain(""), "host");
        let long = MemberId::of(&plain(&"h".repeat(300)), u32::MAX, u64::MAX, &random());
        assert_eq!(MemberId::parse(long.as_str()), Ok(long));
    }

    #[test]
    fn a_seat_stays_from_one_start_to_the_next_and_differs_by_host_and_directory() {
        let seat = |host: &str, directory: &str| Seat::of(host, Path::new(directory));
        let here = seat("executor-0", "/var/lib/lockflight");
        assert_eq!(here, seat("executor-0", "/var/lib/lockflight"));
        assert_ne!(here, seat("executor-1", "/var/lib/lockflight"));
        assert_ne!(here, seat("executor-0", "/var/lib/lockflight-2"));
        assert!(here.as_str().starts_with("executor-0-"), "{here}");
        assert_eq!(Seat::parse(here.as_str()), Ok(here.clone()));
        let long = seat(&"h".repeat(300), "/");
        assert_eq!(Seat::parse(long.as_str()), Ok(long));
        let (first, second) = (MemberId::at(&here), MemberId::at(&here));
        assert_ne!(first, second);
        assert_eq!((first.seat(), second.seat()), (here.as_str(), here.as_str()));
    }

    #[test]
    fn a_name_that_was_not_made_here_is_a_seat_of_its_own() {
        for name in [
            "executor-0",
            "a",
            "-1-019ab2f0c1d49f86d081",
            "a-x-019ab2f0c1d49f86d081",
            "node-3-417-9f86d081884c7d65",
        ] {
            assert_eq!(MemberId::parse(name).unwrap().seat(), name);
        }
        for name in ["", "a b", "a:b", &"a".repeat(65)] {
            assert!(Seat::parse(name).is_err(), "{name:?}");
        }
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
