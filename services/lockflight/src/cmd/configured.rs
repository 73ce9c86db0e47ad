//! What the commands share that read the configuration of the roles.

use lockflight_runtime::config::{Loaded, Sources, load, process_env};

use crate::cli::ConfigArgs;
use crate::config::RolesToml;

/// Reads the configuration.
pub(crate) fn configuration(args: &ConfigArgs, log: Option<&str>) -> anyhow::Result<RolesToml> {
    let sources = Sources {
        file: args.config.clone(),
        env: process_env()?,
        overrides: args.set.clone(),
    };
    let Loaded { mut config, .. } = load::<RolesToml>(sources)?;
    if let Some(filter) = log {
        config.log.filter = Some(filter.to_owned());
    }
    config.servers(args.queue.as_deref(), args.locks.as_deref());
    Ok(config)
}

/// A runtime for a command that asks servers.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context as _;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")
}
