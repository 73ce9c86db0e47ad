//! `lockflight sandbox`: a forge and all roles in one process, and a change that travels through them.

pub(crate) mod change;
pub(crate) mod driver;
pub(crate) mod example;
pub(crate) mod progress;
pub(crate) mod summary;
