//! Names and numbers that cross the borders of the program, each checked once where it enters.
//!
//! A value of one of these types is known to be well formed. None converts into another:
//!
//! ```compile_fail
//! use lockflight_promotion::{CommitOid, TreeOid};
//! fn wants_a_tree(_: TreeOid) {}
//! let commit = CommitOid::parse("0123456789012345678901234567890123456789").unwrap();
//! wants_a_tree(commit);
//! ```

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A value that is not what its type promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct InvalidId {
    /// What was given, cut to 80 characters.
    pub value: String,
    /// What would have been accepted.
    pub expected: &'static str,
}

impl InvalidId {
    fn new(value: &str, expected: &'static str) -> Self {
        Self {
            value: value.chars().take(80).collect(),
            expected,
        }
    }
}

/// A text newtype: private field, built by `parse`, checked again when it is read from a message. A copy shares the text.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `value` and wraps it.
            ///
            /// # Errors
            /// When the value is not what the type promises.
            pub fn parse(value: impl Into<String>) -> Result<Self, InvalidId> {
                let value = value.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&value) { Ok(Self(value.into())) } else { Err(InvalidId::new(&value, $expected)) }
            }

            /// Wraps a value that is right by construction.
            #[expect(clippy::allow_attributes, reason = "`expect` fails for the ids that are made here")]
            #[allow(dead_code, reason = "not every id is also made inside this crate")]
            pub(crate) fn from_valid(value: String) -> Self {
                Self(value.into())
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::parse(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0.as_ref().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

/// A number newtype for GitHub's numeric ids.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Wraps the number.
            #[must_use]
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number itself.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// GitHub's numeric id of a repository. It survives a rename, so it is the key of locks and queues.
    RepoId
}
number_id! {
    /// The numeric id of a GitHub App's installation on an account.
    InstallationId
}
number_id! {
    /// The number of a pull request within its repository.
    PrNumber
}

fn is_lower_hex(value: &str) -> bool {
    value
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_object_id(value: &str) -> bool {
    matches!(value.len(), 40 | 64) && is_lower_hex(value)
}

fn is_digest(value: &str) -> bool {
    value.len() == 64 && is_lower_hex(value)
}

text_id! {
    /// The object id of a commit: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
    CommitOid, "a commit id (40 or 64 lower-case hexadecimal digits)", is_object_id
}
text_id! {
    /// The object id of a tree: 40 or 64 lower-case hexadecimal digits.
    TreeOid, "a tree id (40 or 64 lower-case hexadecimal digits)", is_object_id
}
text_id! {
    /// The object id of a blob: 40 or 64 lower-case hexadecimal digits.
    BlobOid, "a blob id (40 or 64 lower-case hexadecimal digits)", is_object_id
}
text_id! {
    /// The hash of a plan's content: the same decision has the same id.
    PlanId, "a plan id (64 lower-case hexadecimal digits)", is_digest
}
text_id! {
    /// The hash of a step's content.
    StepId, "a step id (64 lower-case hexadecimal digits)", is_digest
}
text_id! {
    /// The hash of where content comes from and where to: [`crate::track`].
    TrackId, "a track id (64 lower-case hexadecimal digits)", is_digest
}
text_id! {
    /// One change on its way through all its environments: the hash of the repository and the pull request it began with.
    PromotionId, "a promotion id (64 lower-case hexadecimal digits)", is_digest
}
text_id! {
    /// The `X-GitHub-Delivery` of a webhook: a GUID, the same for each redelivery.
    DeliveryId, "a delivery id (1 to 64 letters, digits and dashes)", |v| {
        (1..=64).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    }
}
text_id! {
    /// The id of a message on a queue, derived from what it is about.
    MessageId, "a message id (1 to 200 printable ASCII characters without spaces)", |v| {
        (1..=200).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic())
    }
}
text_id! {
    /// The login of a GitHub account, apps included (`name[bot]`).
    Login, "a GitHub login", |v| {
        let name = v.strip_suffix("[bot]").unwrap_or(v);
        (1..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    }
}
text_id! {
    /// A W3C `traceparent`, version 00: <https://www.w3.org/TR/trace-context/#traceparent-header>.
    TraceParent, "a W3C traceparent (00-<32 hex>-<16 hex>-<2 hex>, ids not all zero)", is_traceparent
}
text_id! {
    /// A branch name that `git check-ref-format --branch` accepts, at most 244 bytes: with `refs/heads/` before it, it fits
    /// the 255 bytes that GitHub allows for a ref.
    BranchName, "a branch name (see git-check-ref-format, at most 244 bytes)", is_branch_name
}

fn is_traceparent(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [version, trace, span, flags] = parts.as_slice() else {
        return false;
    };
    *version == "00"
        && trace.len() == 32
        && span.len() == 16
        && flags.len() == 2
        && parts.iter().all(|part| is_lower_hex(part))
        && trace.bytes().any(|b| b != b'0')
        && span.bytes().any(|b| b != b'0')
}

/// The rules of git-check-ref-format(1) for a branch.
fn is_branch_name(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 244
        && !value.starts_with('-')
        && value != "@"
        && value != "HEAD"
        && !value.ends_with('.')
        && !value.contains("..")
        && !value.contains("@{")
        && !value.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c))
        && value
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

impl MessageId {
    /// The id that the parts make, joined by colons: for parts of our own, such as ids and kinds. Should they hold what an id must
    /// not, or be too long for one, it is the hash of them.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let id = parts.join(":");
        Self::parse(id).unwrap_or_else(|_| {
            let digest = Sha256::digest(parts.join("\0"));
            Self::from_valid(crate::change::hex(&digest))
        })
    }
}

/// The name of a repository, exactly `owner/name`. For addresses and for people; what must survive a rename uses [`RepoId`].
///
/// GitHub compares names without regard to case, and so do `==` and hashing here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoName {
    owner: String,
    name: String,
}

impl RepoName {
    /// Checks that `value` is `owner/name`.
    ///
    /// # Errors
    /// When it is not.
    pub fn parse(value: impl AsRef<str>) -> Result<Self, InvalidId> {
        let value = value.as_ref();
        let valid = |part: &str| {
            (1..=100).contains(&part.len())
                && part != "."
                && part != ".."
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        match value.split_once('/') {
            Some((owner, name)) if valid(owner) && valid(name) => Ok(Self {
                owner: owner.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(InvalidId::new(value, "a repository name (owner/name)")),
        }
    }

    /// The account that owns the repository.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The name within the account.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is compared: the owner's bytes and the name's, in lower case.
    fn key(&self) -> [impl Iterator<Item = u8>; 2] {
        [&self.owner, &self.name].map(|part| part.bytes().map(|byte| byte.to_ascii_lowercase()))
    }
}

impl PartialEq for RepoName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for RepoName {}
impl PartialOrd for RepoName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for RepoName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let ([owner, name], [other_owner, other_name]) = (self.key(), other.key());
        owner.cmp(other_owner).then_with(|| name.cmp(other_name))
    }
}
impl std::hash::Hash for RepoName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for part in self.key() {
            part.for_each(|byte| byte.hash(state));
            // No byte of a name, so that the parts can't be mistaken for others.
            b'/'.hash(state);
        }
    }
}
impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}
impl TryFrom<String> for RepoName {
    type Error = InvalidId;
    fn try_from(value: String) -> Result<Self, InvalidId> {
        Self::parse(value)
    }
}
impl From<RepoName> for String {
    fn from(value: RepoName) -> Self {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_name_is_exactly_owner_and_name() {
        for bad in ["", "a", "a/", "/b", "a/b/c", "a/..", "a b/c", "a/b\n"] {
            assert!(RepoName::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            RepoName::parse("Acme/GitOps").unwrap(),
            RepoName::parse("acme/gitops").unwrap()
        );
    }

    #[test]
    fn branch_names_follow_git_check_ref_format() {
        for good in ["main", "promotions/12-fix-a-0123456789ab", "feature/ü"] {
            assert!(BranchName::parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a/", "/a", "a//b", ".a", "a/.b", "a.lock", "a.", "@", "a@{b", "a\\b",
            "a\u{7f}", "a:b",
        ] {
            assert!(BranchName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(BranchName::parse("x".repeat(245)).is_err());
    }

    #[test]
    fn ids_are_checked_again_when_they_are_read_from_a_message() {
        assert!(serde_json::from_str::<CommitOid>("\"DEADBEEF\"").is_err());
        assert!(
            serde_json::from_str::<TraceParent>(
                "\"00-00000000000000000000000000000000-0000000000000001-01\""
            )
            .is_err()
        );
        assert!(
            serde_json::from_str::<TraceParent>(
                "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\""
            )
            .is_ok()
        );
    }
}
