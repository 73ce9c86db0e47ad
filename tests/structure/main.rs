//! The shape of the workspace: which way the arrows point, and where a thing may be done.
//!
//! The reasons are in `docs/` and in the architecture of Lockflight; here is only what a machine can hold. A rule that has
//! to change is changed here, in the same commit, with its reason.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is a test: a failed expectation is a failed test"
)]

mod dependencies;
mod deploy;
mod sources;
mod workspace;
