//! JSON, read by a strict scanner (RFC 8259) that keeps places.
//!
//! The YAML reader would give places too, but accepts more (comments, single quotes, bare words), and JSON that only a YAML
//! reader takes must not be written into a JSON file.

mod read;
mod write;

pub(super) use read::{number, read};
pub(super) use write::{removable, write};
