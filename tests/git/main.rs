//! Mirrors against a forge's own git over HTTP: what they ask for, what they make of hard content, and what a kill leaves behind.
//!
//! Everything runs in this process but `git http-backend`, which the sandbox forge starts, and the `git` that results are compared with.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is a test: a failed expectation is a failed test"
)]

mod cold;
mod planning;
mod scene;
mod warm;
mod ways;
mod wire;

mod attack;
mod hard;
mod kills;
mod place;
mod upkeep;
