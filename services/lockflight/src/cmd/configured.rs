//! What the commands share that read the configuration of the roles.

use anyhow::{Context as _, bail};
use lockflight_runtime::config::{Loaded, Sources, load, process_env};

use lockflight_runtime::telemetry::Process;

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
    for url in [&args.queue, &args.locks].into_iter().flatten() {
        without_password(url)?;
    }
    config.servers(args.queue.as_deref(), args.locks.as_deref());
    Ok(config)
}

/// What telemetry is told of this process: its role, or the command that it is.
pub(crate) const fn process(role: &'static str) -> Process {
    Process {
        service: "lockflight",
        role,
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// A runtime for a command that asks servers.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")
}

/// Whether the URL of a server may stand where everybody can read it. What is wrong is said without it.
fn without_password(url: &str) -> anyhow::Result<()> {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split('/').next().unwrap_or_default();
    let Some((userinfo, _)) = authority.rsplit_once('@') else {
        return Ok(());
    };
    match userinfo.split_once(':') {
        // What RabbitMQ comes with, on loopback addresses only, is known to everybody.
        None | Some(("guest", "guest")) => Ok(()),
        Some(_) => bail!(
            "a password must not stand in a flag, since every user of this machine can see it; write the URL to a file, and set \
             queue.url_file or locks.url_file to its path"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_refused_in_a_flag() {
        for fine in [
            "amqp://127.0.0.1:5672",
            "amqp://guest:guest@127.0.0.1:5672/%2f",
            "amqps://lockflight@broker/prod",
            "redis://cache:6379/0",
        ] {
            assert!(without_password(fine).is_ok(), "{fine}");
        }
        for bad in ["amqp://u:p@h", "redis://:p@h:6379", "amqp://u:a@b@h/x", "u:p@h"] {
            let refused = without_password(bad).unwrap_err().to_string();
            assert!(
                refused.contains("url_file") && !refused.contains("p@"),
                "{refused}"
            );
        }
    }
}
