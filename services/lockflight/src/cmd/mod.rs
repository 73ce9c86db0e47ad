//! One module for each command.

pub(crate) mod bump;
pub(crate) mod completions;
mod configured;
pub(crate) mod doctor;
pub(crate) mod drift;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod init;
pub(crate) mod parked;
pub(crate) mod plan;
pub(crate) mod sandbox;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod topology;
pub(crate) mod validate;

use crate::exit::Exit;

/// Says on stderr what is not there, for those who end with it.
fn not_found(error: &anyhow::Error) -> Exit {
    crate::complain(error);
    Exit::NotFound
}
