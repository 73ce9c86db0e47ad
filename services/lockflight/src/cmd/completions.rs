//! `lockflight completions`.

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::Exit;

/// Prints the completion script of `shell` on stdout.
pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    clap_complete::generate(shell, &mut Cli::command(), "lockflight", &mut std::io::stdout());
    Ok(Exit::Success)
}
