//! Stories of a fleet: roles as processes of their own, on RabbitMQ and Redis, while things break.
//!
//! Some are stories of `tests/e2e`, told once more: what holds for one process has to hold for a fleet.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test: a failed expectation is a failed test"
)]

#[path = "../e2e/auto_merge.rs"]
mod auto_merge;
mod broker;
#[path = "../e2e/chain.rs"]
mod chain;
mod commands;
mod crashes;
#[path = "../e2e/deliveries.rs"]
mod deliveries;
mod flood;
#[path = "../e2e/kills.rs"]
mod kills;
mod load;
mod locks;
mod moving;
mod permissions;
#[path = "../e2e/policies.rs"]
mod policies;
mod raw;
mod rolling;
mod versions;
mod zombies;

use lockflight_tests::world::{Fleet, Setup};

/// The binary that is tested.
const LOCKFLIGHT: &str = env!("CARGO_BIN_EXE_lockflight");

/// A world with this policy, and one process of each role on servers that all stories share.
fn world(policy: &str) -> Setup {
    on(Fleet::shared(), policy)
}

/// A world with this policy on that fleet. What is told on open pull requests is left out, so that each request is of the story.
fn on(fleet: Fleet, policy: &str) -> Setup {
    previewing(fleet, policy).without_previews()
}

/// The same where open pull requests are told where they will go.
fn previewing(fleet: Fleet, policy: &str) -> Setup {
    Setup::new(LOCKFLIGHT).policy(policy).fleet(fleet)
}
