//! The adapters on real servers: what every adapter promises, and what these promise when a server, a network or a neighbour fails.
//!
//! RabbitMQ and Redis are private to this process (`lockflight_tests::servers`).
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is a test: a failed expectation is a failed test"
)]

mod amqp;
mod amqp_wire;
mod contract;
mod faults;
mod redis_lock;
mod redis_members;
mod servers;
