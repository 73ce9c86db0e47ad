//! Errors as a forge in memory has to tell them, for the tests of other crates. A real one makes them from what it was answered.

use std::time::Duration;

use http::StatusCode;

use crate::ForgeError;
use crate::error::Call;
use crate::route::{CREATE_PULL, PULLS};

fn call(read: bool) -> Box<Call> {
    Box::new(Call::new(
        if read { &PULLS } else { &CREATE_PULL },
        "/repos/simulated",
    ))
}

/// A read that got no answer.
#[must_use]
pub fn unreachable() -> ForgeError {
    ForgeError::Unreachable {
        call: call(true),
        source: "simulated".into(),
    }
}

/// A read that was answered with a 503.
#[must_use]
pub fn unavailable() -> ForgeError {
    ForgeError::Unavailable {
        call: call(true),
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: "simulated".to_owned(),
    }
}

/// A write that may have been carried out or not: it was answered with a 5xx, or not at all.
#[must_use]
pub fn unknown() -> ForgeError {
    ForgeError::Unknown {
        call: call(false),
        reason: "simulated".to_owned(),
        source: None,
    }
}

/// A call that was not carried out, because the limit is used up for so long.
#[must_use]
pub fn rate_limited(wait: Duration) -> ForgeError {
    ForgeError::RateLimited {
        call: call(false),
        wait,
    }
}

/// A read of something that does not exist.
#[must_use]
pub fn not_found() -> ForgeError {
    ForgeError::not_found(call(true))
}

/// A pull request that was refused, because its branch is not visible yet.
#[must_use]
pub fn not_yet_visible(branch: &str) -> ForgeError {
    ForgeError::NotYetVisible {
        call: call(false),
        branch: branch.to_owned(),
    }
}

/// A write that was refused for good (422).
#[must_use]
pub fn refused(message: &str) -> ForgeError {
    ForgeError::Refused {
        call: call(false),
        status: StatusCode::UNPROCESSABLE_ENTITY,
        message: message.to_owned(),
    }
}
