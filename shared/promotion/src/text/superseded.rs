//! The word on a promotion pull request that a newer one brings all that it would.

use crate::PrNumber;

/// It is closed, since `by` brings all of it.
#[must_use]
pub fn closed(by: PrNumber) -> String {
    format!(
        "**Superseded by #{by}:** that one brings all that this pull request would, from a newer state of the source, so this one is \
         closed. Its branch is left as it is. Whoever wants the older content all the same opens it again; it is not closed twice.\n"
    )
}

/// It is left open, though `by` brings all of it, since people have pushed to it.
#[must_use]
pub fn kept(by: PrNumber) -> String {
    format!(
        "**#{by} is newer:** it brings all that Lockflight put here, from a newer state of the source. This pull request has commits that \
         Lockflight did not make, so it is left open. Merge it before #{by} if they are to stay, or close it.\n"
    )
}
