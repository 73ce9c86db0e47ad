//! What a token of an App is for.
//!
//! GitHub makes no token at all when a permission is asked for that an installation did not grant. So what every installation
//! has to grant goes into the usual token, and each further permission into a token of its own, made when it is needed.

use lockflight_promotion::RepoName;

use crate::error::ForgeError;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Carrying changes, with the permissions of the settings.
    Usual,
    /// Reading check runs.
    ReadChecks,
    /// Writing check runs.
    WriteChecks,
    /// Reading who is in a team of the organization.
    ReadMembers,
}

/// A permission that not every installation grants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    /// Its name in GitHub's API.
    pub(crate) name: &'static str,
    /// `read` or `write`.
    pub(crate) access: &'static str,
    /// What cannot be done without it.
    what: &'static str,
    /// What to give to whom.
    advice: &'static str,
}

impl Purpose {
    /// The one permission that such a token has; none of the usual one.
    pub(crate) const fn extra(self) -> Option<Extra> {
        match self {
            Self::Usual => None,
            Self::ReadChecks => Some(Extra {
                name: "checks",
                access: "read",
                what: "check runs cannot be read",
                advice: "Give the App the permission \"Checks: read\" on this repository (its owner then has to \
                         accept it), or a classic token the scope \"repo\".",
            }),
            Self::WriteChecks => Some(Extra {
                name: "checks",
                access: "write",
                what: "check runs cannot be written",
                advice: "Give the App the permission \"Checks: write\" on this repository (its owner then has to \
                         accept it). Personal tokens cannot write them.",
            }),
            Self::ReadMembers => Some(Extra {
                name: "members",
                access: "read",
                what: "the members of teams cannot be read",
                advice: "Give the App the organization permission \"Members: read\" (the organization's owner then \
                         has to accept it), or a classic token the scope \"read:org\".",
            }),
        }
    }
}

impl Extra {
    /// The error of whoever needs the permission. `message` is in GitHub's words.
    pub(crate) fn not_granted(self, repository: &RepoName, message: &str) -> ForgeError {
        ForgeError::NotGranted {
            what: format!("{} in {repository}", self.what),
            message: message.trim_end_matches('.').to_owned(),
            advice: self.advice,
        }
    }
}
