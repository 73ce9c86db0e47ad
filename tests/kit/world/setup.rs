//! What a world begins with.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use lockflight_sandbox::{AppOptions, Forge, ForgeOptions, HookTarget, UserKind};
use tempfile::TempDir;

use super::fleet::{Fleet, Member};
use super::front::Front;
use super::git::{self, FirstFile};
use super::serve::{Launch, Log};
use super::{APPROVER, BOT, HUBOT, Identity, MONA, PATIENCE, REPOSITORY, World};
use crate::otlp::Collector;
use crate::proxy::ValidatingProxy;

/// How a world begins: the files of the repository's first commit, and how `serve` is configured.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    files: Vec<FirstFile>,
    is_app: bool,
    has_approver: bool,
    log_filter: String,
    settings: Vec<String>,
    variables: Vec<(String, String)>,
    fleet: Option<Fleet>,
    is_validated: bool,
    patience: Duration,
}

impl Setup {
    /// Returns the plainest world: an empty repository, and `lockflight serve` with a personal token. `binary` is `lockflight`.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            files: Vec::new(),
            is_app: false,
            has_approver: false,
            log_filter: "info".to_owned(),
            settings: Vec::new(),
            variables: Vec::new(),
            fleet: None,
            is_validated: true,
            patience: PATIENCE,
        }
    }

    /// Waits for longer than usual, in a story of much work.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Has Lockflight talk to the forge directly, for stories of so many requests that holding each to GitHub's description takes too
    /// long.
    #[must_use]
    pub const fn unvalidated(mut self) -> Self {
        self.is_validated = false;
        self
    }

    /// Has the roles run as processes of their own, on servers.
    #[must_use]
    pub fn fleet(mut self, fleet: Fleet) -> Self {
        self.fleet = Some(fleet);
        self
    }

    /// Gives the repository this `telefonistka.yaml`.
    #[must_use]
    pub fn policy(self, yaml: &str) -> Self {
        self.file("telefonistka.yaml", yaml)
    }

    /// Gives the repository a file.
    #[must_use]
    pub fn file(mut self, path: &str, content: &str) -> Self {
        let content = content.as_bytes().to_vec();
        self.files.push(FirstFile {
            path: path.to_owned(),
            mode: "100644",
            content,
        });
        self
    }

    /// Has Lockflight act as a GitHub App.
    #[must_use]
    pub const fn as_app(mut self) -> Self {
        self.is_app = true;
        self
    }

    /// Gives Lockflight a second identity, which approves.
    #[must_use]
    pub const fn with_approver(mut self) -> Self {
        self.has_approver = true;
        self
    }

    /// Has `serve` log more than usual.
    #[must_use]
    pub fn logging(mut self, filter: &str) -> Self {
        filter.clone_into(&mut self.log_filter);
        self
    }

    /// Sets a key of the configuration of `serve`, as `github.sweep_every=1s`.
    #[must_use]
    pub fn setting(mut self, key_and_value: &str) -> Self {
        self.settings.push(key_and_value.to_owned());
        self
    }

    /// Says nothing on pull requests before they are merged: for stories of a fault, a hold or a kill that the merge is to meet, and not the
    /// preview of the same pull request.
    #[must_use]
    pub fn without_previews(self) -> Self {
        self.setting("promotion.previews=false")
    }

    /// Gives each process a variable of the environment, in all its lives, as `OTEL_METRIC_EXPORT_INTERVAL=1000`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has each process send its telemetry to a collector, several times in a second.
    #[must_use]
    pub fn telemetry(self, collector: &Collector) -> Self {
        collector
            .variables()
            .into_iter()
            .fold(self, |setup, (name, value)| setup.variable(name, &value))
    }

    /// Makes the world, has the story happen in it, and ends it. A `serve` that ends by itself fails the story at once.
    pub async fn run(self, story: impl AsyncFnOnce(&World)) {
        let world = Box::pin(self.start()).await;
        let log = world.log.clone();
        tokio::select! {
            () = Box::pin(story(&world)) => {}
            status = log.death() => panic!("a process ended by itself: {status}"),
        }
        Box::pin(world.finish()).await;
    }

    async fn start(self) -> World {
        let data = TempDir::new().expect("there is a folder for temporary files");
        let forge = Forge::start(ForgeOptions::new(data.path().join("forge")))
            .await
            .expect("loopback has a free port");
        let first = data.path().join("first.git");
        git::make_repository(&first, &self.files).await;
        forge
            .import_repository(REPOSITORY, &first)
            .await
            .expect("a fresh repository can be imported");
        for person in [MONA, HUBOT] {
            forge.add_user(person, UserKind::User);
        }

        let proxy = ValidatingProxy::start(&forge.url()).await;
        let front = Front::start().await;
        let home = data.path().join("serve");
        std::fs::create_dir(&home).expect("the folder of the test can be written");
        let mut config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\n[storage]\ndirectory = \"data\"\n\n\
             [queue]\nfirst_retry = \"50ms\"\nlongest_retry = \"400ms\"\n\n\
             [webhook]\nsecret_file = \"webhook-secret\"\n\n[github]\napi_url = \"{}\"\n",
            if self.is_validated {
                proxy.api_url()
            } else {
                forge.api_url()
            }
        );
        let mut secrets = Vec::new();
        let mut keep = |what, name: &str, secret: &str| {
            write_secret(&home.join(name), secret);
            secrets.extend(disguises(secret).map(|disguise| (what, disguise)));
        };
        let mut installation = None;
        let (identity, webhook_secret, target) = if self.is_app {
            let app = forge
                .add_app(AppOptions::new("lockflight"))
                .await
                .expect("the system gives random numbers");
            let installed = forge.install(app.id, &[REPOSITORY]);
            installation = Some(installed.expect("the repository is there"));
            keep("the App's key", "app.pem", &app.private_key_pem);
            writeln!(config, "app_id = {}\napp_private_key_file = \"app.pem\"", app.id)
                .expect("a string can be written to");
            let (secret, id) = (app.webhook_secret.clone(), app.id);
            (Identity::App(app), secret, HookTarget::App(id))
        } else {
            keep(
                "the token",
                "token",
                &forge
                    .personal_token(BOT)
                    .expect("the system gives random numbers"),
            );
            config.push_str("token_file = \"token\"\n");
            let secret = "e2e-webhook-secret-e2e-webhook-secret".to_owned();
            (Identity::Person, secret, HookTarget::repository(REPOSITORY))
        };
        keep("the webhook's secret", "webhook-secret", &webhook_secret);
        if self.has_approver {
            let token = forge
                .personal_token(APPROVER)
                .expect("the system gives random numbers");
            keep("the approver's token", "approver-token", &token);
            config.push_str("\n[github.approver]\ntoken_file = \"approver-token\"\n");
        }
        if let Some(fleet) = &self.fleet {
            fleet.configure(&home, &mut config).await;
        }
        let launch = Launch {
            command: "serve",
            name: None,
            home: home.clone(),
            environment: Vec::new(),
            variables: self.variables,
            binary: self.binary,
            settings: self.settings,
            config: write_config(&home, &config),
            log_filter: self.log_filter,
        };
        let launches = match &self.fleet {
            Some(fleet) => fleet.members(&launch).await,
            None => vec![Member::serve(launch)],
        };
        let url = format!("http://{}/webhook", front.address());
        let hook = forge
            .set_webhook(target, &url, &webhook_secret)
            .expect("the front is on loopback");
        let world = World {
            forge,
            proxy,
            front,
            launches,
            running: tokio::sync::Mutex::default(),
            log: Log::new(),
            identity,
            webhook_secret,
            hook,
            installation,
            secrets,
            read_comments: std::sync::Mutex::default(),
            branches: AtomicU32::new(0),
            patience: self.patience,
            data,
        };
        world.start_all().await;
        world
    }
}

/// What a secret is recognized by: each of its lines, if it is a key, and what git makes of it for HTTP.
fn disguises(secret: &str) -> impl Iterator<Item = String> {
    let is_content = |line: &&str| !line.is_empty() && !line.starts_with("-----");
    let lines = secret.lines().filter(is_content).map(str::to_owned);
    let basic = ["x-access-token:", ":", ""].map(|user| STANDARD_NO_PAD.encode(format!("{user}{secret}")));
    // The last characters of base64 depend on what follows.
    lines.chain(basic.map(|basic| basic.chars().take(basic.len() - 2).collect()))
}

pub(super) fn write_secret(path: &Path, secret: &str) {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(secret.as_bytes()));
    written.expect("the folder of the test can be written");
}

fn write_config(home: &Path, config: &str) -> PathBuf {
    let path = home.join("lockflight.toml");
    std::fs::write(&path, config).expect("the folder of the test can be written");
    path
}
