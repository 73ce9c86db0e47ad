//! Stories of whole changes, told from the outside: HTTP, git and the command line.
//!
//! Each runs the real binary against a forge of its own; [`lockflight_tests::world`] says how. A file holds the stories of one subject.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test: a failed expectation is a failed test"
)]

mod app;
mod auto_merge;
mod bump;
mod chain;
mod cli;
mod commands;
mod components;
mod conditions;
mod deletion;
mod deliveries;
mod drift;
mod environments;
mod explain;
mod fan;
mod fanout;
mod faults;
mod gates;
mod kills;
mod native;
mod overtaken;
mod people;
mod policies;
mod policy;
mod preview;
mod refusals;
mod rollback;
mod sandbox;
mod secrets;
mod sources;
mod supersede;
mod telemetry;
mod told;
mod verbs;
mod waiting;
mod waves;

use lockflight_tests::world::Setup;

/// The binary that is tested.
const LOCKFLIGHT: &str = env!("CARGO_BIN_EXE_lockflight");

/// A world with this policy.
fn world(policy: &str) -> Setup {
    Setup::new(LOCKFLIGHT).policy(policy)
}
