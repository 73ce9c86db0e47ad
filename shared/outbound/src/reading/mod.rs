//! Reads gates that ask somebody else: an HTTP server, or Prometheus.
//!
//! A gate that can't be read is closed and says why, whatever the reason: what is not known to hold does not hold. Nothing here is
//! retried; whoever waits for a gate reads it again.

mod http;
mod prometheus;
mod words;

use lockflight_promotion::gate::Expectation;
use serde_json::{Number, Value};

pub use self::http::read_http;
pub use self::prometheus::read_prometheus;

/// What a gate says at the moment.
///
/// The texts are one line for people, of at most [`MAX_CHARS`] characters, without control characters; what
/// a server said in them is a single value, never a body. They are plain text, to be escaped where Markdown is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reading {
    /// What it asks for is so.
    Holds {
        /// What was read.
        detail: String,
    },
    /// What it asks for is not so.
    DoesNotHold {
        /// What was read, and what it should be.
        detail: String,
    },
    /// Nobody knows.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// The longest text of a [`Reading`], in characters.
pub const MAX_CHARS: usize = 200;

impl Reading {
    fn holds(detail: &str) -> Self {
        Self::Holds {
            detail: words::line(detail, MAX_CHARS),
        }
    }

    fn does_not_hold(detail: &str) -> Self {
        Self::DoesNotHold {
            detail: words::line(detail, MAX_CHARS),
        }
    }

    fn unreadable(reason: &str) -> Self {
        Self::Unreadable {
            reason: words::line(reason, MAX_CHARS),
        }
    }
}

/// What an expectation wants of a number, in words: `below 0.5`.
fn wanted(expect: &Expectation) -> String {
    match expect {
        Expectation::Equals(value) => words::value(value),
        Expectation::Below(limit) => format!("below {limit}"),
        Expectation::AtMost(limit) => format!("at most {limit}"),
        Expectation::Above(limit) => format!("above {limit}"),
        Expectation::AtLeast(limit) => format!("at least {limit}"),
    }
}

/// Whether a number is as expected; none if the expectation is not about a number that can be compared.
fn is_met(expect: &Expectation, number: f64) -> Option<bool> {
    let limit = |limit: &Number| limit.as_f64().filter(|limit| limit.is_finite());
    if number.is_nan() {
        return None;
    }
    Some(match expect {
        Expectation::Equals(Value::Number(wanted)) => number == limit(wanted)?,
        Expectation::Equals(_) => return None,
        Expectation::Below(wanted) => number < limit(wanted)?,
        Expectation::AtMost(wanted) => number <= limit(wanted)?,
        Expectation::Above(wanted) => number > limit(wanted)?,
        Expectation::AtLeast(wanted) => number >= limit(wanted)?,
    })
}
