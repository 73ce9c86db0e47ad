//! What the tests share.
//!
//! [`openapi`] knows what GitHub documents about its REST API and its webhooks. [`proxy`] stands between a client and a
//! forge and holds both to it. [`hooks`] receives webhooks and holds the sender to it.
//! [`otlp`] receives traces, metrics and logs.
//! [`servers`] runs RabbitMQ and Redis for a test, and a proxy that makes networks bad.
//! [`client`] is a client that Lockflight does not use, so that a shared mistake cannot cancel out.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "test support: an expectation that fails is a test that fails"
)]

pub mod client;
pub mod fixtures;
pub mod hooks;
pub mod openapi;
pub mod otlp;
pub mod proxy;
pub mod servers;
mod wire;
pub mod world;
