//! The sandbox forge against GitHub's own description of itself.
//!
//! Every call goes through the validating proxy and every webhook to a validating receiver, so that a story fails as soon
//! as the forge answers or sends what GitHub would not.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test: a failed expectation is a failed test"
)]

mod client;
mod corpus;
mod git;
mod lists;
mod merges;
mod objects;
mod octocrab;
mod refusals;
mod teeth;
mod tour;
mod weather;
mod webhooks;
mod world;
