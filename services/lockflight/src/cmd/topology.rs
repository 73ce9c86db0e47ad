//! `lockflight topology`.

use std::io::Write as _;

use lockflight_fleet::amqp;
use lockflight_runtime::telemetry;

use super::configured::{configuration, process, runtime};
use crate::cli::TopologyArgs;
use crate::exit::Exit;
use crate::roles;

/// Declares exchanges and queues, or looks whether they are there.
pub(crate) fn run(args: &TopologyArgs, log: Option<&str>) -> anyhow::Result<Exit> {
    let config = configuration(&args.config, log)?;
    let _telemetry = telemetry::init_as(&config.log, &process("topology"))?;
    let (options, _) = roles::servers_of(config.servers_or_file()?, "topology")?;
    runtime()?.block_on(async {
        let mut out = std::io::stdout().lock();
        if args.check {
            amqp::check(&options).await?;
            writeln!(out, "exchanges and queues are there")?;
            return Ok(Exit::Success);
        }
        for name in amqp::declare(&options).await? {
            writeln!(out, "{name}")?;
        }
        Ok(Exit::Success)
    })
}
