//! Every text that people read, and the hidden lines by which Lockflight knows its own texts again.
//!
//! Titles, branch names, paths and component names come from people and may hold anything. They pass through [`markdown`]
//! before they stand in a comment or a pull request, so that no name pings anybody, closes an issue, draws a link or looks
//! like one of our own hidden lines. What a machine reads back is signed ([`marker`], [`comment`]); nothing else in a body
//! is ever trusted.
//!
//! All of it is deterministic: the same arguments give the same text.

pub mod carried;
pub mod comment;
pub mod commit;
pub mod controls;
pub mod drift;
pub mod dry_run;
pub mod failure;
mod links;
pub mod markdown;
pub mod marker;
mod page;
mod plan;
pub mod preview;
pub mod pull_request;
mod seal;
pub mod status;
pub mod superseded;
pub mod waves;
mod words;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub use dry_run::dry_run;
pub use links::Links;
pub use plan::plan;
pub use preview::preview;

/// The most bytes that a comment or a pull request's body made here has.
///
/// GitHub takes 65,536 characters. Bytes are never fewer than characters, and the rest is room for the tag of a comment and
/// for a sentence that a person adds below.
pub const LIMIT: usize = 64_000;
