//! What a worker does about an error.

use std::time::Duration;

/// What a worker does about an error, decided where the error's cause is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// It may pass: try again after the usual backoff.
    Retry,
    /// It passes at a known time, such as the reset of a rate limit: try again after that long. Not counted as an attempt.
    RetryAfter(Duration),
    /// It will never pass and nobody can be told on a pull request: park the message with the reason.
    Reject,
    /// A person can mend it: say so on the pull request, and be done with the message.
    User,
    /// Our own mistake: park the message, and log an error.
    Bug,
}

/// An error that says itself what to do about it.
pub trait Classified: std::error::Error {
    /// What a worker does about it.
    fn class(&self) -> ErrorClass;
}

/// Makes errors [`Classified`] by their own `class` method.
#[macro_export]
macro_rules! classified {
    ($($error:ty),+ $(,)?) => {
        $(impl $crate::Classified for $error {
            fn class(&self) -> $crate::ErrorClass {
                <$error>::class(self)
            }
        })+
    };
}
