//! One module for each command.

pub(crate) mod completions;
pub(crate) mod plan;
pub(crate) mod sandbox;
pub(crate) mod serve;
pub(crate) mod validate;
