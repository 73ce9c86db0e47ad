//! `lockflight schema`.

use std::io::Write as _;

use lockflight_promotion::policy::schema;

use crate::cli::SchemaArgs;
use crate::exit::Exit;

/// Prints the JSON Schema of a policy on stdout.
pub(crate) fn run(args: &SchemaArgs) -> anyhow::Result<Exit> {
    let schema = if args.component {
        schema::component()
    } else {
        schema::repository()
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &schema)?;
    writeln!(out)?;
    Ok(Exit::Success)
}
