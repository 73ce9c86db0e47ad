//! `lockflight`: every role, the sandbox, and the command line in one binary.

mod cli;
mod cmd;
mod config;
mod exit;
mod offline;
mod roles;
mod sandbox;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::roles::RoleSet;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = cli.log.as_deref();
    lockflight_forge::init_tls();
    let ended = match cli.command {
        Command::Completions { shell } => cmd::completions::run(shell),
        Command::Bump(args) => cmd::bump::run(&args, log),
        Command::Drift(args) => cmd::drift::run(&args),
        Command::Explain(args) => cmd::explain::run(&args),
        Command::Plan(args) => cmd::plan::run(&args),
        Command::Validate(args) => cmd::validate::run(&args),
        Command::Init(args) => cmd::init::run(&args),
        Command::Schema(args) => cmd::schema::run(&args),
        Command::Sandbox(args) => cmd::sandbox::run(&args, log),
        Command::Serve(args) => cmd::serve::run(&args, RoleSet::ALL, log),
        Command::Ingress(args) => cmd::serve::run(&args, RoleSet::INGRESS, log),
        Command::Planner(args) => cmd::serve::run(&args, RoleSet::PLANNER, log),
        Command::Executor(args) => cmd::serve::run(&args, RoleSet::EXECUTOR, log),
        Command::Topology(args) => cmd::topology::run(&args, log),
        Command::Doctor(args) => cmd::doctor::run(&args, log),
        Command::Parked(args) => cmd::parked::run(&args, log),
        Command::Health(args) => cmd::health::run(&args),
    };
    match ended {
        Ok(exit) => exit.into(),
        // Whoever read our output has had enough, as `head` has.
        Err(error) if is_broken_pipe(&error) => Exit::Success.into(),
        Err(error) => {
            complain(&error);
            Exit::Failed.into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is = |kind: std::io::ErrorKind| kind == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| is(error.kind()))
            || cause
                .downcast_ref::<serde_json::Error>()
                .and_then(serde_json::Error::io_error_kind)
                .is_some_and(is)
    })
}

/// The one place that prints why a command failed: what, then each cause on a line of its own.
#[expect(clippy::print_stderr, reason = "an error message belongs on stderr")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  caused by: {cause}");
    }
}
