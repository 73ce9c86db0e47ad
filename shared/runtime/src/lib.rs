//! What the process of any role needs, and nothing that a role does.
//!
//! - [`config`]: defaults, file, environment and flags become one typed configuration; secrets are read from files.
//! - [`telemetry`]: logs on stderr, for people or as JSON.
//! - [`shutdown`]: tasks with names, a drain and a hard stop, signals.
//! - [`blocking()`]: work that blocks, on its own thread, inside the caller's span.
//! - [`health`]: `/healthz` and `/readyz`.
//! - [`http`]: serves a router with limits on slow and many connections.
//! - [`trace_context`]: the beginning of a trace.

mod blocking;
pub mod config;
pub mod health;
pub mod http;
pub mod panics;
pub mod shutdown;
pub mod telemetry;
pub mod trace_context;

pub use blocking::blocking;
pub use config::{Secret, SecretError};
pub use health::Health;
pub use shutdown::Shutdown;
