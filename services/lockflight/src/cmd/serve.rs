//! `lockflight serve`.

use std::io::Write as _;

use anyhow::Context as _;
use lockflight_runtime::config::{Loaded, Sources, load, process_env};
use lockflight_runtime::{Shutdown, telemetry};

use crate::cli::ServeArgs;
use crate::config::ServeConfig;
use crate::exit::Exit;
use crate::roles;

/// Runs all roles until a signal ends them.
pub(crate) fn run(args: &ServeArgs, log: Option<&str>) -> anyhow::Result<Exit> {
    let sources = Sources {
        file: args.config.clone(),
        env: process_env()?,
        overrides: args.set.clone(),
    };
    let Loaded { mut config, .. } = load::<ServeConfig>(sources)?;
    if let Some(filter) = log {
        config.log.filter = Some(filter.to_owned());
    }
    let _telemetry = telemetry::init(&config.log)?;
    let listen = config.http.listen;
    let roles = config.roles()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    if args.check_config {
        let _inside = runtime.enter();
        roles::check(roles)?;
        writeln!(std::io::stdout(), "the configuration can be used")?;
        return Ok(Exit::Success);
    }
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.listen_for_signals()?;
        let roles = roles::start(roles, listen, &shutdown).await?;
        tracing::info!(address = %roles.address, "listening for webhooks on http://{}", roles.address);
        shutdown.draining().await;
        let drained = shutdown.drain(roles::DRAIN).await?;
        roles.fleet.stop().await;
        Ok(if drained.left_behind.is_empty() {
            Exit::Success
        } else {
            Exit::Partial
        })
    })
}
