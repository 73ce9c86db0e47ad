//! Each text in full, as people read it.

mod commits;
mod drifts;
mod dry_runs;
mod failures;
mod injection;
mod previews;
mod pull_requests;
mod statuses;
