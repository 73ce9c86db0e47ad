//! Deliveries as GitHub, and others who would like to be taken for it, send them.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where its world is not as it has to be"
)]

mod harness;
mod limits;
mod meaning;
mod outage;
mod pushes;
mod signature;
