//! The exit codes that scripts rely on. They are listed in `docs/cli.md`.

use std::process::ExitCode;

use lockflight_runtime::shutdown::Signal;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked, which may have been nothing.
    Success,
    /// It failed.
    Failed,
    /// It was called in a way that makes no sense, which clap could not see.
    Usage,
    /// There are differences, and the caller wanted to be told by the code.
    Differences,
    /// What was checked is not valid.
    Invalid,
    /// What was asked for is not there.
    NotFound,
    /// The token is not valid, or may not do it.
    Forbidden,
    /// A server did not answer, or not now; trying again is sensible.
    Unavailable,
    /// Some of it worked, some did not.
    Partial,
    /// A signal ended it before it was done.
    Interrupted(Signal),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // 2 is also clap's, for wrong usage.
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Differences => 3,
            Exit::Invalid => 4,
            Exit::NotFound => 5,
            Exit::Forbidden => 6,
            Exit::Unavailable => 7,
            Exit::Partial => 8,
            Exit::Interrupted(signal) => signal.exit_code(),
        })
    }
}
