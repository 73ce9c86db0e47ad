//! `lockflight sandbox`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum::Router;
use lockflight_fleet::Schedule;
use lockflight_fleet::embedded::{EmbeddedFleet, EmbeddedOptions};
use lockflight_forge::{Auth, ForgeConfig};
use lockflight_git::{Identity, PlainHttp};
use lockflight_ingress::IngressConfig;
use lockflight_outbound::OutboundConfig;
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_runtime::config::process_env;
use lockflight_runtime::telemetry::LogConfig;
use lockflight_runtime::{Secret, Shutdown, telemetry};
use lockflight_sandbox::{App, AppOptions, Forge, ForgeOptions, HookTarget};

use crate::cli::SandboxArgs;
use crate::exit::Exit;
use crate::roles::{self, Backend, Fleet, RolesConfig, WorkersConfig};
use crate::sandbox::change::FirstChange;
use crate::sandbox::{change, driver, progress, summary};

/// The person who merges.
const VIEWER: &str = "you";

/// Runs the sandbox until Ctrl-C, or with `--once` until everything is quiet.
pub(crate) fn run(args: &SandboxArgs, log: Option<&str>) -> anyhow::Result<Exit> {
    let started = Instant::now();
    // Progress is told on its own; the log is for what is unexpected.
    let variable = process_env()?
        .into_iter()
        .find(|(name, _)| name == "LOCKFLIGHT_LOG__FILTER");
    let filter = log.map(str::to_owned).or(variable.map(|(_, filter)| filter));
    let filter = Some(filter.unwrap_or_else(|| "warn".to_owned()));
    let _telemetry = telemetry::init(&LogConfig {
        filter,
        ..LogConfig::default()
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let directory = Directory::new(args.data.as_deref())?;
    let exit = runtime.block_on(sandbox(args, directory.path(), started));
    // Children and connections are gone before the directory is.
    drop(runtime);
    exit
}

/// The directory of the forge in the sandbox's.
const FORGE: &str = "forge";

/// Where repositories and state lie.
enum Directory {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Directory {
    fn new(kept: Option<&Path>) -> anyhow::Result<Self> {
        match kept {
            Some(path) => {
                if path.join(FORGE).exists() {
                    bail!(
                        "{} holds an earlier sandbox; give a new directory",
                        path.display()
                    );
                }
                std::fs::create_dir_all(path).with_context(|| format!("{} can't be made", path.display()))?;
                Ok(Self::Kept(path.to_owned()))
            }
            None => Ok(Self::Temporary(
                tempfile::Builder::new()
                    .prefix("lockflight-sandbox-")
                    .tempdir()
                    .context("no temporary directory can be made")?,
            )),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

async fn sandbox(args: &SandboxArgs, directory: &Path, started: Instant) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals()?;
    let forge = Forge::start(ForgeOptions {
        listen: args.listen,
        viewer: VIEWER.to_owned(),
        ..ForgeOptions::new(directory.join(FORGE))
    })
    .await
    .context("the sandbox forge can't be started")?;
    let change = change::prepare(&forge, args.example, args.repo.as_deref()).await?;
    let app = forge.add_app(AppOptions::new("lockflight")).await?;
    forge.install(app.id, &change.repositories().collect::<Vec<_>>())?;

    if args.forge_only {
        return forge_only(&forge, &app, &change, directory, &shutdown).await;
    }

    let fleet = start_roles(&forge, &app, directory, &shutdown).await?;
    let ready = started.elapsed();
    forge.reset_usage();
    let story = progress::Story::begin(&forge, &change, args.once);
    let number = change.merge(&forge).await?;
    story.merged(number, &change.title);
    let ended = if args.once {
        driver::until_quiet(&forge, &fleet, &change, &story, &shutdown).await?
    } else {
        driver::follow(&forge, &fleet, &change, &story, &shutdown).await?
    };
    let exit = if args.once {
        summary::print(&forge, &fleet, &change, &ended, ready).await?
    } else {
        Exit::Success
    };
    let drained = shutdown.drain(roles::DRAIN).await?;
    fleet.stop().await;
    forge.shutdown().await;
    Ok(match drained.signal {
        Some(signal) if args.once => Exit::Interrupted(signal),
        _ => exit,
    })
}

/// All roles, pointed at the forge of this machine.
async fn start_roles(
    forge: &Forge,
    app: &App,
    directory: &Path,
    shutdown: &Shutdown,
) -> anyhow::Result<EmbeddedFleet> {
    let secret = Secret::from_value("the sandbox", app.webhook_secret.clone().into());
    let directory = directory.join("lockflight");
    // A person watches: what fails is tried again soon, and given up soon.
    let options = EmbeddedOptions {
        max_attempts: 6,
        backoff: Schedule::fast(),
        ..EmbeddedOptions::default()
    };
    let workers = WorkersConfig {
        max_attempts: options.max_attempts,
        forge: ForgeConfig::new(forge.api_url(), Auth::app(app.id, app.private_key_pem.clone())),
        approver: Some(ForgeConfig::new(
            forge.api_url(),
            Auth::token(forge.personal_token("approver")?),
        )),
        directory: directory.clone(),
        mirrors_max_bytes: u64::MAX,
        plain_http: PlainHttp::Loopback,
        marker_keys: vec![MarkerKey::derive(app.webhook_secret.as_bytes())],
        author: Identity {
            name: "Lockflight".to_owned(),
            email: "lockflight@users.noreply.localhost".to_owned(),
        },
        merge_poll: Duration::from_secs(2),
        previews: true,
        planners: Some(2),
        executors: Some(4),
        // It may call nobody.
        forwards: None,
        batch: 32,
        sweep: Some(Duration::from_secs(60)),
        outbound: OutboundConfig::default(),
    };
    let config = RolesConfig {
        backend: Backend::Embedded {
            directory,
            options: Box::new(options),
        },
        ingress: Some(IngressConfig::new(vec![secret])),
        workers: Some(workers),
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let roles = roles::start(config, listen, Router::new(), shutdown).await?;
    let url = format!("http://{}/webhook", roles.address);
    forge.set_webhook(HookTarget::App(app.id), &url, &app.webhook_secret)?;
    let Fleet::Embedded(fleet) = roles.fleet else {
        bail!("the sandbox's queue is a file of its own");
    };
    Ok(fleet)
}

/// The forge alone: prints what points separate roles at it, and runs until a signal.
async fn forge_only(
    forge: &Forge,
    app: &App,
    change: &FirstChange,
    directory: &Path,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let key = write_secret(&directory.join("app.pem"), &app.private_key_pem)?;
    let secret = write_secret(&directory.join("webhook-secret"), &app.webhook_secret)?;
    let webhook = "http://127.0.0.1:8080/webhook";
    forge.set_webhook(HookTarget::App(app.id), webhook, &app.webhook_secret)?;
    let number = change.open(forge).await?;
    let page = format!("{}/{}/pull/{number}", forge.url(), change.repository);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "# The forge runs until Ctrl-C. Its webhooks go to {webhook}."
    )?;
    writeln!(
        out,
        "# In another terminal: set these, run `lockflight serve`, then press Merge on"
    )?;
    writeln!(out, "# {page}")?;
    writeln!(out, "export LOCKFLIGHT_GITHUB__API_URL='{}'", forge.api_url())?;
    writeln!(out, "export LOCKFLIGHT_GITHUB__APP_ID='{}'", app.id)?;
    writeln!(
        out,
        "export LOCKFLIGHT_GITHUB__APP_PRIVATE_KEY_FILE='{}'",
        key.display()
    )?;
    writeln!(
        out,
        "export LOCKFLIGHT_WEBHOOK__SECRET_FILE='{}'",
        secret.display()
    )?;
    out.flush()?;
    drop(out);
    shutdown.draining().await;
    forge.shutdown().await;
    Ok(Exit::Success)
}

/// Writes a file that only this user may read.
fn write_secret(path: &Path, content: &str) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("{} can't be written", path.display()))?;
    Ok(path)
}
