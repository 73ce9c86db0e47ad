//! The forge as its clients meet it: over HTTP, with the real `git`.
//!
//! Each module says `cfg(test)`, so that the lints know its helper functions for test code.

#[cfg(test)]
mod apps;
#[cfg(test)]
mod contents;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod git_transport;
#[cfg(test)]
mod graphql;
#[cfg(test)]
mod merging;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod pull_requests;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod support;
#[cfg(test)]
mod webhooks;
