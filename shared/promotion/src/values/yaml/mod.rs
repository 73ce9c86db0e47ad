//! YAML, read by granit-parser and edited by cutting bytes out of the text and putting others in.

mod read;
mod scalar;
mod write;

pub(super) use read::read;
pub(super) use write::{removable, write};
