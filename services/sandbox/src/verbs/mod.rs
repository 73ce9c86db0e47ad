//! What tests and the example do to repositories and pull requests, in one call each.
//!
//! Everything has the effects that the same thing has over HTTP: events are sent, `refs/pull` is kept.

mod checks;
mod pull_requests;
mod repositories;
mod teams;
