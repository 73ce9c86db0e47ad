//! `lockflight serve`, and each role by itself.

use std::io::Write as _;

use lockflight_runtime::{Shutdown, telemetry};

use super::configured::{configuration, runtime};
use crate::cli::RunArgs;
use crate::exit::Exit;
use crate::roles::{self, RoleSet};

/// Runs these roles until a signal ends them.
pub(crate) fn run(args: &RunArgs, which: RoleSet, log: Option<&str>) -> anyhow::Result<Exit> {
    let config = configuration(&args.config, log)?;
    let telemetry = telemetry::init_as(&config.log, &super::configured::process(which.name()))?;
    let listen = config.http.listen;
    let roles = config.roles(which)?;
    let runtime = runtime()?;
    if args.check_config {
        let _inside = runtime.enter();
        roles::check(roles)?;
        writeln!(std::io::stdout(), "the configuration can be used")?;
        return Ok(Exit::Success);
    }
    let exit = runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.listen_for_signals()?;
        let has_ingress = which.ingress;
        let roles = roles::start(roles, listen, telemetry.metrics_router(), &shutdown).await?;
        let (address, role) = (roles.address, which.name());
        if has_ingress {
            tracing::info!(%address, "listening for webhooks on http://{address}");
        } else {
            tracing::info!(%address, "{role} is running; its health is on http://{address}/readyz");
        }
        shutdown.draining().await;
        let drained = shutdown.drain(roles::DRAIN).await;
        // Also after a failure: what is held goes back, locks are given back.
        roles.fleet.stop().await;
        Ok(if drained?.left_behind.is_empty() {
            Exit::Success
        } else {
            Exit::Partial
        })
    });
    // All work is drained and every connection closed or given up. A thread of the client of RabbitMQ may still be about to end, and panics when the
    // runtime goes before it does: it stays for as long as the process, which ends now.
    std::mem::forget(runtime);
    exit
}
