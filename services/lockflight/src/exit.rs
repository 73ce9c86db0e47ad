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
    /// What was checked is not valid.
    Invalid,
    /// What was asked for is not there.
    NotFound,
    /// Some of it worked, some did not.
    Partial,
    /// A signal ended it before it was done.
    Interrupted(Signal),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // 2 is clap's, for wrong usage. 3 (there are differences), 6 (not allowed) and 7 (try again) are kept for commands to come.
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Invalid => 4,
            Exit::NotFound => 5,
            Exit::Partial => 8,
            Exit::Interrupted(signal) => signal.exit_code(),
        })
    }
}
