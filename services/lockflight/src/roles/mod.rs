//! The roles of a process, and what they stand on: a file of their own, or the servers of a fleet.

mod parts;
mod servers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use lockflight_fleet::amqp::AmqpOptions;
use lockflight_fleet::embedded::{EmbeddedFleet, EmbeddedOptions};
use lockflight_fleet::redis::RedisOptions;
use lockflight_fleet::{Queue, RepoLock, Seat, Work};
use lockflight_forge::{Forge, ForgeConfig};
use lockflight_git::{Identity, PlainHttp};
use lockflight_ingress::IngressConfig;
use lockflight_outbound::OutboundConfig;
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_runtime::{Health, Shutdown, http};
use tokio::net::TcpListener;

use servers::{Servers, Takes};

/// How long a shutdown waits for what is in hand.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// Which roles a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoleSet {
    pub(crate) ingress: bool,
    pub(crate) planner: bool,
    pub(crate) executor: bool,
}

impl RoleSet {
    pub(crate) const ALL: Self = Self {
        ingress: true,
        planner: true,
        executor: true,
    };
    pub(crate) const INGRESS: Self = Self {
        ingress: true,
        planner: false,
        executor: false,
    };
    pub(crate) const PLANNER: Self = Self {
        ingress: false,
        planner: true,
        executor: false,
    };
    pub(crate) const EXECUTOR: Self = Self {
        ingress: false,
        planner: false,
        executor: true,
    };

    /// The name of the process in logs and telemetry.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::INGRESS => "ingress",
            Self::PLANNER => "planner",
            Self::EXECUTOR => "executor",
            _ => "serve",
        }
    }
}

/// What the roles of a process need to know.
#[derive(Debug)]
pub(crate) struct RolesConfig {
    pub(crate) backend: Backend,
    /// The ingress, if the process has it.
    pub(crate) ingress: Option<IngressConfig>,
    /// Planner and executor, if the process has one of them.
    pub(crate) workers: Option<WorkersConfig>,
}

/// What queue, journal and locks are kept by.
#[derive(Debug)]
pub(crate) enum Backend {
    /// A file of this process alone.
    Embedded {
        /// Holds `state.sqlite`.
        directory: PathBuf,
        options: Box<EmbeddedOptions>,
    },
    /// RabbitMQ, and Redis where there are locks to take.
    Servers {
        queue: Box<AmqpOptions>,
        locks: Option<Box<RedisOptions>>,
        /// The name under which the process comes back after a restart.
        seat: Seat,
    },
}

/// What planners and executors need to know.
#[derive(Debug)]
pub(crate) struct WorkersConfig {
    pub(crate) forge: ForgeConfig,
    pub(crate) approver: Option<ForgeConfig>,
    /// Holds `mirrors/`.
    pub(crate) directory: PathBuf,
    /// How large they may become all together.
    pub(crate) mirrors_max_bytes: u64,
    pub(crate) plain_http: PlainHttp,
    /// The first signs, all are believed.
    pub(crate) marker_keys: Vec<MarkerKey>,
    pub(crate) author: Identity,
    /// How long a merge that waits for checks or reviews is put aside before it is looked at again.
    pub(crate) merge_poll: Duration,
    /// Whether pull requests are told where they will go while they are open.
    pub(crate) previews: bool,
    pub(crate) max_attempts: u32,
    /// Messages in hand at the same time; none if the process has no planner.
    pub(crate) planners: Option<usize>,
    /// Batches in hand at the same time; none if the process has no executor.
    pub(crate) executors: Option<usize>,
    /// Webhooks that are passed on at the same time; none if the process has no executor.
    pub(crate) forwards: Option<usize>,
    /// Steps of one repository that are fetched and pushed in one go, at most.
    pub(crate) batch: usize,
    /// How often deliveries that never arrived are asked for; only an App can.
    pub(crate) sweep: Option<Duration>,
    /// What a policy may have called.
    pub(crate) outbound: OutboundConfig,
}

/// Roles that run until their shutdown drains.
#[derive(Debug)]
pub(crate) struct Roles {
    pub(crate) fleet: Fleet,
    /// Where the process listens.
    pub(crate) address: SocketAddr,
}

/// What the roles stand on.
#[derive(Clone, Debug)]
pub(crate) enum Fleet {
    Embedded(EmbeddedFleet),
    Servers(Servers),
}

impl Fleet {
    /// Ends it, once the roles have.
    pub(crate) async fn stop(&self) {
        match self {
            Self::Embedded(fleet) => fleet.stop().await,
            Self::Servers(servers) => servers.stop().await,
        }
    }
}

/// Finds out whether [`start`] would take the configuration, as far as that can be told without doing anything.
pub(crate) fn check(config: RolesConfig) -> anyhow::Result<()> {
    if let Some(ingress) = &config.ingress {
        ingress.check().context("[webhook] can't be used")?;
    }
    if let Some(workers) = config.workers {
        parts::connections(workers.forge, workers.approver)?;
        parts::outbound(workers.outbound)?;
    }
    Ok(())
}

/// Starts the roles. The process listens on `listen` once this returns.
pub(crate) async fn start(
    config: RolesConfig,
    listen: SocketAddr,
    metrics: Router,
    shutdown: &Shutdown,
) -> anyhow::Result<Roles> {
    let RolesConfig {
        backend,
        ingress,
        workers,
    } = config;
    match backend {
        Backend::Embedded { directory, options } => {
            let fleet = embedded(directory, *options).await?;
            let parts = Parts {
                ingress,
                workers,
                queue: fleet.clone(),
                locks: Some(fleet.clone()),
                sweeps: None,
            };
            let health = Health::new(shutdown.clone());
            let queue = fleet.clone();
            health.check("queue", move || {
                let queue = queue.clone();
                async move { readable(&queue).await }
            });
            let address = parts.start(listen, metrics, &health, shutdown).await?;
            Ok(Roles {
                fleet: Fleet::Embedded(fleet),
                address,
            })
        }
        Backend::Servers { queue, locks, seat } => {
            let takes = workers.as_ref().map_or_else(Takes::default, |workers| Takes {
                plans: workers.planners.is_some(),
                steps: workers.executors.is_some(),
                forwards: workers.forwards.is_some(),
            });
            let servers = Servers::start(*queue, locks.map(|locks| *locks), &seat, takes, shutdown)?;
            let health = Health::new(shutdown.clone());
            servers.check(&health);
            let parts = Parts {
                ingress,
                workers,
                queue: servers.queue.clone(),
                locks: servers.locks(),
                sweeps: servers.first_planner(),
            };
            let address = parts.start(listen, metrics, &health, shutdown).await?;
            Ok(Roles {
                fleet: Fleet::Servers(servers),
                address,
            })
        }
    }
}

/// Opens the file of an embedded fleet.
pub(crate) async fn embedded(directory: PathBuf, options: EmbeddedOptions) -> anyhow::Result<EmbeddedFleet> {
    EmbeddedFleet::open(directory.join("state.sqlite"), options)
        .await
        .context("the queue can't be opened")
}

async fn readable(queue: &impl Queue) -> Result<(), String> {
    let depth = queue.depth(Work::Plan).await;
    depth.map(drop).map_err(|error| error.to_string())
}

/// The parts of a process, and what they share.
struct Parts<Q, L> {
    ingress: Option<IngressConfig>,
    workers: Option<WorkersConfig>,
    queue: Q,
    /// Needed by the executor.
    locks: Option<L>,
    /// Whether it is this process that sweeps; none: it is.
    sweeps: Option<tokio::sync::watch::Receiver<bool>>,
}

impl<Q: Queue, L: RepoLock> Parts<Q, L> {
    async fn start(
        self,
        listen: SocketAddr,
        metrics: Router,
        health: &Health,
        shutdown: &Shutdown,
    ) -> anyhow::Result<SocketAddr> {
        let router = match self.ingress {
            Some(ingress) => lockflight_ingress::router(ingress, self.queue.clone(), health)?,
            None => health.router(),
        };
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("can't listen on {listen}; choose another address with http.listen"))?;
        let address = listener.local_addr()?;
        let router = router.merge(metrics);
        drop(shutdown.spawn_critical("http", http::serve(listener, router, shutdown.clone())));
        if let Some(workers) = self.workers {
            let (queue, stop) = (self.queue.clone(), shutdown.clone());
            let depths = async move { lockflight_fleet::observe_depths(queue, stop.draining()).await };
            drop(shutdown.spawn("depths", depths));
            parts::start(workers, self.queue, self.locks, self.sweeps, shutdown)?;
        }
        Ok(address)
    }
}

/// The ways to GitHub of a process that works, for `doctor`.
pub(crate) fn forges(workers: WorkersConfig) -> anyhow::Result<(Forge, Option<Forge>)> {
    parts::connections(workers.forge, workers.approver)
}

/// The servers of a configuration that has some.
pub(crate) fn servers_of(
    backend: Backend,
    command: &str,
) -> anyhow::Result<(AmqpOptions, Option<RedisOptions>)> {
    match backend {
        Backend::Servers { queue, locks, .. } => Ok((*queue, locks.map(|locks| *locks))),
        Backend::Embedded { .. } => bail!(
            "`lockflight {command}` needs RabbitMQ: give --queue amqp://…, or set queue.url_file. Without servers, run `lockflight serve`"
        ),
    }
}
