//! Planner and executor of a process, and what passes webhooks on beside it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lockflight_executor::{Executor, ExecutorConfig, Forwarder};
use lockflight_fleet::worker::{Handler, WorkerOptions, work};
use lockflight_fleet::{Queue, RepoLock, Work};
use lockflight_forge::{Forge, ForgeConfig, Hook};
use lockflight_git::{Mirrors, MirrorsConfig};
use lockflight_outbound::{Outbound, OutboundConfig};
use lockflight_planner::Planner;
use lockflight_runtime::Shutdown;
use tokio::sync::watch;

use super::WorkersConfig;

/// How often the mirrors are looked after. A round that finds nothing to do lists a few directories.
const UPKEEP_EVERY: Duration = Duration::from_mins(5);

/// The ways to GitHub: Lockflight's own, and that of the second identity.
pub(super) fn connections(
    forge: ForgeConfig,
    approver: Option<ForgeConfig>,
) -> anyhow::Result<(Forge, Option<Forge>)> {
    let forge = Forge::new(forge).context("the configuration of GitHub can't be used")?;
    let approver = approver
        .map(Forge::new)
        .transpose()
        .context("[github.approver] can't be used")?;
    Ok((forge, approver))
}

/// The way to the addresses that policies name.
pub(super) fn outbound(config: OutboundConfig) -> anyhow::Result<Outbound> {
    Outbound::new(config).context("[outbound] can't be used")
}

/// Starts planner, sweep, executor and forwarder, as far as the process has them. `sweeps` tells whether it is this process that sweeps.
pub(super) fn start<Q: Queue, L: RepoLock>(
    config: WorkersConfig,
    queue: Q,
    locks: Option<L>,
    sweeps: Option<watch::Receiver<bool>>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let Some((marker_key, older_marker_keys)) = config.marker_keys.split_first() else {
        bail!(
            "there is no key to sign lineage markers with: configure [promotion] marker_secret_file, or [webhook] secret_file"
        );
    };
    let mirrors = Mirrors::new(MirrorsConfig {
        plain_http: config.plain_http,
        max_bytes: Some(config.mirrors_max_bytes),
        ..MirrorsConfig::new(config.directory.join("mirrors"))
    })
    .context("the git mirrors can't be kept")?;
    drop(shutdown.spawn("upkeep", upkeep(mirrors.clone(), shutdown.clone())));
    let (forge, approver) = connections(config.forge, config.approver)?;
    let outbound = outbound(config.outbound)?;

    if let Some(planners) = config.planners {
        if let Some(every) = config.sweep {
            drop(shutdown.spawn("sweep", sweep(forge.clone(), every, sweeps, shutdown.clone())));
        }
        let planner = Planner::new(forge.clone(), mirrors.clone(), config.marker_keys.clone())
            .with_previews(config.previews);
        let options = WorkerOptions {
            concurrency: planners.max(1),
            ..WorkerOptions::default()
        };
        spawn("planner", queue.clone(), Work::Plan, planner, options, shutdown);
    }
    if let Some(forwards) = config.forwards {
        let options = WorkerOptions {
            concurrency: forwards.max(1),
            ..WorkerOptions::default()
        };
        let forwarder = Forwarder::new(outbound.clone());
        spawn(
            "forwarder",
            queue.clone(),
            Work::Forward,
            forwarder,
            options,
            shutdown,
        );
    }
    if let Some(executors) = config.executors {
        let locks = locks.context("executors of a fleet take their locks from Redis: set locks.url_file")?;
        let executor = ExecutorConfig {
            marker_key: marker_key.clone(),
            older_marker_keys: older_marker_keys.to_vec(),
            author: config.author,
            max_attempts: config.max_attempts,
            merge_poll: config.merge_poll,
        };
        let executor = Executor::new(forge, approver, mirrors, locks, executor).with_outbound(outbound);
        let options = WorkerOptions {
            concurrency: executors.max(1),
            batch: config.batch.max(1),
            ..WorkerOptions::default()
        };
        spawn("executor", queue, Work::Steps, executor, options, shutdown);
    }
    Ok(())
}

/// Looks after the mirrors now and then.
async fn upkeep(mirrors: Mirrors, stop: Shutdown) {
    loop {
        tokio::select! {
            () = stop.draining() => return,
            () = tokio::time::sleep(UPKEEP_EVERY) => {}
        }
        tokio::select! {
            () = stop.draining() => return,
            _done = mirrors.maintain() => {}
        }
    }
}

/// Sweeps while it is this process's turn.
async fn sweep(forge: Forge, every: Duration, turn: Option<watch::Receiver<bool>>, stop: Shutdown) {
    let Some(mut turn) = turn else {
        return lockflight_planner::sweep(forge, Hook::App, every, stop.draining()).await;
    };
    while !stop.is_draining() {
        let mut mine = turn.clone();
        tokio::select! {
            () = stop.draining() => return,
            turned = turn.wait_for(|mine| *mine) => if turned.is_err() { return },
        }
        let ended = async {
            tokio::select! {
                () = stop.draining() => {}
                // An error means that nobody tells any more, which is the end of the process.
                _ = mine.wait_for(|mine| !*mine) => {}
            }
        };
        lockflight_planner::sweep(forge.clone(), Hook::App, every, ended).await;
    }
}

fn spawn<Q: Queue, H: Handler>(
    name: &'static str,
    queue: Q,
    kind: Work,
    handler: H,
    options: WorkerOptions,
    shutdown: &Shutdown,
) {
    let (handler, stop) = (Arc::new(handler), shutdown.clone());
    drop(shutdown.spawn_critical(name, async move {
        work(queue, kind, handler, options, stop.draining()).await;
        Ok::<(), std::convert::Infallible>(())
    }));
}
