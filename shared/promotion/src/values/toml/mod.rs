//! TOML, read by `toml_edit` for its places, and edited by cutting bytes out of the text and putting others in: `toml_edit`
//! would write the whole file again, with line breaks of its own.

mod read;
mod write;

pub(super) use read::read;
pub(super) use write::{removable, write};
