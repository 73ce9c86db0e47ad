//! SIGINT and SIGTERM.

use std::fmt;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{Instrument as _, info_span, warn};

use super::Shutdown;

/// A signal that asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: what supervisors send.
    Terminate,
}

impl Signal {
    /// The exit code by which a shell tells that a process ended by this signal.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// Listens until the process ends. The task is not tracked: a drain must not wait for it.
pub(super) fn listen(shutdown: Shutdown) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(
        async move {
            let mut first = true;
            loop {
                let signal = tokio::select! {
                    Some(()) = interrupt.recv() => Signal::Interrupt,
                    Some(()) = terminate.recv() => Signal::Terminate,
                    else => return,
                };
                if !first {
                    warn!(%signal, "{signal} again: the process ends at once");
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the person asked twice; what is not finished is delivered again after a restart"
                    )]
                    std::process::exit(i32::from(signal.exit_code()));
                }
                first = false;
                shutdown.signalled(signal);
            }
        }
        .instrument(info_span!("signals")),
    );
    Ok(())
}
