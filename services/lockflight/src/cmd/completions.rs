//! `lockflight completions`.

use std::io::Write as _;

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::Exit;

/// Prints the completion script of `shell` on stdout.
pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    // Made whole first: the generator panics when its reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lockflight", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Success)
}
