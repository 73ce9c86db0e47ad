//! Calls to servers on loopback addresses: what is refused, what is cut short, and what gates make of it.
#![expect(
    clippy::unwrap_used,
    reason = "this is a test: a failed expectation is a failed test"
)]

mod gates;
mod limits;
mod places;
mod support;
mod tls;
