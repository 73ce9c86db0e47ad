//! What can be done on the forge. REST, git, the web pages and the library all come here, so that whoever does a
//! thing, it has the same effect and sends the same webhooks.

pub(crate) mod checks;
pub(crate) mod conversation;
pub(crate) mod merge;
pub(crate) mod pull_requests;
pub(crate) mod refs;
pub(crate) mod statuses;
