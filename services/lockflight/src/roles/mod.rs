//! All roles in one process, on one SQLite file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lockflight_executor::{Executor, ExecutorConfig};
use lockflight_fleet::embedded::{EmbeddedFleet, EmbeddedOptions};
use lockflight_fleet::worker::{Handler, WorkerOptions, work};
use lockflight_fleet::{Queue as _, Work};
use lockflight_forge::{Forge, ForgeConfig, Hook};
use lockflight_git::{Identity, Mirrors, MirrorsConfig, PlainHttp};
use lockflight_ingress::IngressConfig;
use lockflight_planner::Planner;
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_runtime::{Health, Shutdown, http};
use tokio::net::TcpListener;

/// How long a shutdown waits for what is in hand.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// What the roles need to know.
#[derive(Debug)]
pub(crate) struct RolesConfig {
    pub(crate) ingress: IngressConfig,
    pub(crate) forge: ForgeConfig,
    pub(crate) approver: Option<ForgeConfig>,
    /// Holds `state.sqlite` and `mirrors/`.
    pub(crate) directory: PathBuf,
    pub(crate) plain_http: PlainHttp,
    /// The first signs, all are believed.
    pub(crate) marker_keys: Vec<MarkerKey>,
    pub(crate) author: Identity,
    /// How long a merge that waits for checks or reviews is put aside before it is looked at again.
    pub(crate) merge_poll: Duration,
    pub(crate) fleet: EmbeddedOptions,
    pub(crate) planners: usize,
    pub(crate) executors: usize,
    /// How often deliveries that never arrived are asked for; only an App can.
    pub(crate) sweep: Option<Duration>,
}

/// Roles that run until their shutdown drains.
#[derive(Clone, Debug)]
pub(crate) struct Roles {
    pub(crate) fleet: EmbeddedFleet,
    /// Where the ingress listens.
    pub(crate) address: SocketAddr,
}

/// Finds out whether [`start`] would take the configuration, as far as that can be told without doing anything.
pub(crate) fn check(config: RolesConfig) -> anyhow::Result<()> {
    config.ingress.check().context("[webhook] can't be used")?;
    connections(config.forge, config.approver).map(drop)
}

/// The ways to GitHub: Lockflight's own, and that of the second identity.
fn connections(forge: ForgeConfig, approver: Option<ForgeConfig>) -> anyhow::Result<(Forge, Option<Forge>)> {
    let forge = Forge::new(forge).context("the configuration of GitHub can't be used")?;
    let approver = approver
        .map(Forge::new)
        .transpose()
        .context("[github.approver] can't be used")?;
    Ok((forge, approver))
}

/// Starts every role. The ingress listens on `listen` once this returns.
pub(crate) async fn start(
    config: RolesConfig,
    listen: SocketAddr,
    shutdown: &Shutdown,
) -> anyhow::Result<Roles> {
    let Some((marker_key, older_marker_keys)) = config.marker_keys.split_first() else {
        bail!("there is no key to sign lineage markers with: configure [webhook] secret_file");
    };
    let mirrors = Mirrors::new(MirrorsConfig {
        plain_http: config.plain_http,
        ..MirrorsConfig::new(config.directory.join("mirrors"))
    })
    .context("the git mirrors can't be kept")?;
    let (forge, approver) = connections(config.forge, config.approver)?;
    let max_attempts = config.fleet.max_attempts;
    let fleet = EmbeddedFleet::open(config.directory.join("state.sqlite"), config.fleet)
        .await
        .context("the queue can't be opened")?;

    let health = Health::new(shutdown.clone());
    let queue = fleet.clone();
    health.check("queue", move || {
        let queue = queue.clone();
        async move {
            queue
                .depth(Work::Plan)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        }
    });
    let router = lockflight_ingress::router(config.ingress, fleet.clone(), &health)?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen}; choose another address with http.listen"))?;
    let address = listener.local_addr()?;
    drop(shutdown.spawn_critical("ingress", http::serve(listener, router, shutdown.clone())));

    if let Some(every) = config.sweep {
        let (forge, stop) = (forge.clone(), shutdown.clone());
        let sweep = async move { lockflight_planner::sweep(forge, Hook::App, every, stop.draining()).await };
        drop(shutdown.spawn("sweep", sweep));
    }
    let planner = Planner::new(forge.clone(), mirrors.clone(), config.marker_keys.clone());
    spawn("planner", &fleet, Work::Plan, planner, config.planners, shutdown);
    let executor = ExecutorConfig {
        marker_key: marker_key.clone(),
        older_marker_keys: older_marker_keys.to_vec(),
        author: config.author,
        max_attempts,
        merge_poll: config.merge_poll,
    };
    let executor = Executor::new(forge, approver, mirrors, fleet.clone(), executor);
    spawn(
        "executor",
        &fleet,
        Work::Steps,
        executor,
        config.executors,
        shutdown,
    );
    Ok(Roles { fleet, address })
}

fn spawn<H: Handler>(
    name: &'static str,
    fleet: &EmbeddedFleet,
    kind: Work,
    handler: H,
    concurrency: usize,
    shutdown: &Shutdown,
) {
    let options = WorkerOptions {
        concurrency: concurrency.max(1),
        ..WorkerOptions::default()
    };
    let (queue, handler, stop) = (fleet.clone(), Arc::new(handler), shutdown.clone());
    drop(shutdown.spawn_critical(name, async move {
        work(queue, kind, handler, options, stop.draining()).await;
        Ok::<(), std::convert::Infallible>(())
    }));
}
