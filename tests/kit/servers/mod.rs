//! Servers that a test runs for itself: RabbitMQ, Redis, and a proxy that makes networks bad.
//!
//! What they guarantee:
//! - Each is private: a process of its own in a folder of its own, on ports of loopback that nobody else has. The machine's own
//!   instances are never touched.
//! - Each ends with what started it: when it is dropped, and at the latest with the test's process, also when that is killed with
//!   SIGKILL (Linux then kills the server). Its folder goes too.
//! - Every wait is bounded by [`PATIENCE`]. A server that does not start fails the test with the end of its log; one that is not
//!   installed fails it with the command that installs it. Nothing is skipped.
//!
//! What may interleave: everything takes `&self`, so that one task can kill a server while others use it.

mod mortal;
mod port;
mod process;
mod proxy;
mod rabbitmq;
mod redis;

use std::time::Duration;

pub use proxy::TcpProxy;
pub use rabbitmq::{RabbitMq, RabbitMqSetup};
pub use redis::{Redis, RedisSetup};

/// No wait for a server takes longer. Far more than anything should take, since a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Quorum queues that lose their broker within about a second of their declaration may come back without a leader (measured on
/// RabbitMQ 3.10.8). Wait this long between a declaration and a kill.
pub const SETTLING: Duration = Duration::from_secs(2);

/// How often something is looked at that can't be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The random numbers of a test that has any: from `LOCKFLIGHT_SEED` if that is set, so that a run can be repeated. Printed, so that
/// the output of a failed test has it.
#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that fails has to say how to repeat it, and is told by its environment"
)]
pub fn seed() -> u64 {
    let given = std::env::var("LOCKFLIGHT_SEED").ok();
    let seed = given.map_or_else(
        || {
            use std::hash::{BuildHasher as _, RandomState};
            RandomState::new().hash_one(std::process::id())
        },
        |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("LOCKFLIGHT_SEED is no number: {text:?}"))
        },
    );
    eprintln!("seed: run again with LOCKFLIGHT_SEED={seed}");
    seed
}
