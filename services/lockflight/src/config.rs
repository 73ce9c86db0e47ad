//! The configuration of the roles. `docs/configuration.md` lists every key.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lockflight_fleet::amqp::{AmqpOptions, AmqpUri};
use lockflight_fleet::embedded::{EmbeddedOptions, JournalLimits};
use lockflight_fleet::redis::{KeyPrefix, RedisOptions, RedisUri};
use lockflight_fleet::{Schedule, Seat};
use lockflight_forge::{Auth, ForgeConfig, Permissions};
use lockflight_git::{Identity, PlainHttp};
use lockflight_ingress::{IngressConfig, WebhookConfig};
use lockflight_outbound::{Cidr, HostPattern, OutboundConfig};
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_runtime::Secret;
use lockflight_runtime::config::{FilePath, duration};
use lockflight_runtime::http::HttpConfig;
use lockflight_runtime::telemetry::LogConfig;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::roles::{Backend, RoleSet, RolesConfig, WorkersConfig};

/// All of it. Unknown keys are errors.
#[derive(Debug, Deserialize)]
pub(crate) struct RolesToml {
    #[serde(default)]
    pub(crate) http: HttpConfig,
    #[serde(default)]
    pub(crate) log: LogConfig,
    /// Needed by planners and executors.
    github: Option<GithubConfig>,
    /// Needed by the ingress.
    webhook: Option<WebhookConfig>,
    #[serde(default)]
    storage: StorageConfig,
    #[serde(default)]
    promotion: PromotionConfig,
    #[serde(default)]
    queue: QueueConfig,
    #[serde(default)]
    locks: LocksConfig,
    #[serde(default)]
    workers: WorkersSection,
    #[serde(default)]
    outbound: OutboundSection,
}

/// `[github]`: which forge, and as whom.
#[derive(Debug, Deserialize)]
struct GithubConfig {
    /// `https://api.github.com`, or `https://HOST/api/v3` of an Enterprise Server.
    #[serde(default = "default_api_url")]
    api_url: String,
    token: Option<Secret>,
    app_id: Option<u64>,
    app_private_key: Option<Secret>,
    /// How often an App asks for deliveries that never arrived.
    #[serde(default = "default_sweep", with = "duration")]
    sweep_every: Duration,
    /// The second identity, which approves promotion pull requests where the policy asks for it.
    approver: Option<ApproverConfig>,
}

/// `[github.approver]`.
#[derive(Debug, Deserialize)]
struct ApproverConfig {
    token: Option<Secret>,
    app_id: Option<u64>,
    app_private_key: Option<Secret>,
}

/// `[storage]`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct StorageConfig {
    /// Holds `state.sqlite` and the git mirrors.
    directory: FilePath,
    /// How large all mirrors together may become before those that were not used for the longest time are removed.
    mirrors_max_bytes: u64,
}

/// `[promotion]`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct PromotionConfig {
    /// Signs lineage markers and comments; by default the webhook's secret does. Have one of its own where that one is rotated.
    marker_secret: Option<Secret>,
    /// Author and committer of promotion commits.
    author_name: String,
    author_email: String,
    /// How long a merge that waits for checks or reviews is put aside before it is looked at again.
    #[serde(with = "duration")]
    merge_poll: Duration,
    /// Whether pull requests are told where they will go while they are open.
    previews: bool,
}

/// `[queue]`: which one, and how failures are tried again.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct QueueConfig {
    /// RabbitMQ; none: a file of this process alone.
    url: Option<Secret>,
    /// RabbitMQ's management API, which only `doctor` asks.
    management_url: Option<Secret>,
    /// What the names of exchanges and queues begin with.
    prefix: String,
    /// Over how many queues the steps are spread. The same for every process of a fleet.
    partitions: u16,
    /// The waits that there are queues for, shortest first; others are made up of these.
    waits: Vec<Wait>,
    /// How long and how large the journal may become.
    #[serde(with = "duration")]
    journal_max_age: Duration,
    journal_max_bytes: u64,
    max_attempts: u32,
    #[serde(with = "duration")]
    first_retry: Duration,
    #[serde(with = "duration")]
    longest_retry: Duration,
}

/// `[locks]`: Redis, which a fleet takes its locks from and knows its members by.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct LocksConfig {
    url: Option<Secret>,
    /// What keys begin with.
    prefix: String,
    /// How long a lock outlives a holder that died.
    #[serde(with = "duration")]
    lease: Duration,
    /// How often a process says that it lives.
    #[serde(with = "duration")]
    heartbeat: Duration,
    /// How long it counts as alive after the last time that it said so.
    #[serde(with = "duration")]
    expiry: Duration,
}

/// One of `queue.waits`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Wait(#[serde(with = "duration")] Duration);

/// `[workers]`: how much is done at the same time.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct WorkersSection {
    /// The name under which the process comes back after a restart; by default made of the host and the storage directory.
    name: Option<String>,
    planners: usize,
    executors: usize,
    forwards: usize,
    /// Steps of one repository that are fetched and pushed in one go, at most.
    batch: usize,
}

/// `[outbound]`: what a policy may have called, which those who run Lockflight do not write themselves.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct OutboundSection {
    /// Hosts, as `hooks.example.com`, `*.example.com` or `http://prometheus:9090`; none: nothing is called.
    allowed_hosts: Vec<HostPattern>,
    /// Ranges of private addresses that those hosts may have.
    allow_private: Vec<Cidr>,
    /// How long one call may take.
    #[serde(with = "duration")]
    deadline: Duration,
    /// The longest answer.
    max_response_bytes: usize,
    /// Certificates in PEM that are trusted beside those of the system.
    ca_file: Option<FilePath>,
}

fn default_api_url() -> String {
    "https://api.github.com".to_owned()
}

const fn default_sweep() -> Duration {
    Duration::from_secs(300)
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            directory: FilePath::new("lockflight-data"),
            mirrors_max_bytes: 20 << 30,
        }
    }
}

impl Default for PromotionConfig {
    fn default() -> Self {
        Self {
            marker_secret: None,
            author_name: "Lockflight".to_owned(),
            author_email: "lockflight@users.noreply.github.com".to_owned(),
            merge_poll: Duration::from_secs(30),
            previews: true,
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        let schedule = Schedule::production();
        Self {
            url: None,
            management_url: None,
            prefix: "lockflight".to_owned(),
            partitions: 16,
            waits: [5, 30, 120, 600, 3_600]
                .map(|seconds| Wait(Duration::from_secs(seconds)))
                .to_vec(),
            journal_max_age: Duration::from_hours(90 * 24),
            journal_max_bytes: 1 << 30,
            max_attempts: EmbeddedOptions::default().max_attempts,
            first_retry: schedule.initial,
            longest_retry: schedule.max,
        }
    }
}

impl Default for LocksConfig {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "lockflight".to_owned(),
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(3),
            expiry: Duration::from_secs(10),
        }
    }
}

impl Default for WorkersSection {
    fn default() -> Self {
        Self {
            name: None,
            planners: 4,
            executors: 8,
            forwards: 16,
            batch: 32,
        }
    }
}

impl Default for OutboundSection {
    fn default() -> Self {
        let usual = OutboundConfig::default();
        Self {
            allowed_hosts: usual.allowed_hosts,
            allow_private: usual.allow_private,
            deadline: usual.deadline,
            max_response_bytes: usual.max_response_bytes,
            ca_file: None,
        }
    }
}

impl OutboundSection {
    /// All of it, with the certificates read.
    fn load(&self) -> anyhow::Result<OutboundConfig> {
        let more_roots = match &self.ca_file {
            Some(file) => std::fs::read(file).with_context(|| {
                let path = file.as_path().display();
                format!("[outbound] ca_file: {path} can't be read")
            })?,
            None => Vec::new(),
        };
        Ok(OutboundConfig {
            allowed_hosts: self.allowed_hosts.clone(),
            allow_private: self.allow_private.clone(),
            deadline: self.deadline,
            max_response_bytes: self.max_response_bytes,
            more_roots,
        })
    }
}

impl RolesToml {
    /// What these roles need, with all secrets read.
    pub(crate) fn roles(self, which: RoleSet) -> anyhow::Result<RolesConfig> {
        let backend = self.backend(which)?;
        let ingress = match &self.webhook {
            Some(webhook) => Some(IngressConfig {
                // Where nothing may be called, no push has to be looked at.
                forwards: !self.outbound.allowed_hosts.is_empty(),
                ..IngressConfig::from(webhook.clone())
            }),
            None if which.ingress => {
                bail!(
                    "the ingress needs the webhook's secret: set webhook.secret_file to the path of its file"
                )
            }
            None => None,
        };
        let workers = (which.planner || which.executor)
            .then(|| self.workers_of(which, ingress.as_ref()))
            .transpose()?;
        Ok(RolesConfig {
            backend,
            ingress: ingress.filter(|_| which.ingress),
            workers,
        })
    }

    /// Takes the servers that flags name in place of those of the configuration.
    pub(crate) fn servers(&mut self, queue: Option<&str>, locks: Option<&str>) {
        let given = |flag: &str, url: &str| Secret::from_value(flag, url.to_owned().into());
        if let Some(url) = queue {
            self.queue.url = Some(given("--queue", url));
        }
        if let Some(url) = locks {
            self.locks.url = Some(given("--locks", url));
        }
    }

    /// What queue and locks are kept by, for commands that need nothing else.
    pub(crate) fn servers_or_file(&self) -> anyhow::Result<Backend> {
        self.backend(RoleSet {
            executor: self.queue.url.is_none(),
            ..RoleSet::ALL
        })
    }

    /// What planners and executors need, for `doctor`; none where nothing of GitHub is configured, as for an ingress.
    pub(crate) fn github(&self) -> Option<anyhow::Result<WorkersConfig>> {
        let ingress = self.webhook.clone().map(IngressConfig::from);
        self.github
            .is_some()
            .then(|| self.workers_of(RoleSet::ALL, ingress.as_ref()))
    }

    /// The forge and the identity alone, for commands that need nothing else.
    pub(crate) fn forge(&self) -> anyhow::Result<ForgeConfig> {
        let Some(github) = &self.github else {
            bail!("[github] is missing: token_file, or app_id with app_private_key_file");
        };
        let (token, key) = (github.token.as_ref(), github.app_private_key.as_ref());
        Ok(ForgeConfig::new(
            &github.api_url,
            auth("github", token, github.app_id, key)?,
        ))
    }

    /// Where `doctor` asks about policies.
    pub(crate) const fn management(&self) -> Option<&Secret> {
        self.queue.management_url.as_ref()
    }

    /// What the ingress needs, for `doctor`.
    pub(crate) fn ingress(&self) -> Option<IngressConfig> {
        self.webhook.clone().map(IngressConfig::from)
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            initial: self.queue.first_retry,
            max: self.queue.longest_retry.max(self.queue.first_retry),
            ..Schedule::production()
        }
    }

    fn backend(&self, which: RoleSet) -> anyhow::Result<Backend> {
        let max_attempts = self.queue.max_attempts.max(1);
        let Some(url) = &self.queue.url else {
            if which != RoleSet::ALL {
                bail!(
                    "a role by itself needs RabbitMQ: give --queue amqp://…, or set queue.url_file. Without servers, run `lockflight serve`"
                );
            }
            if self.locks.url.is_some() {
                bail!(
                    "locks.url_file is set, but not queue.url_file: Redis is for a fleet on RabbitMQ; set both or none"
                );
            }
            return Ok(Backend::Embedded {
                directory: PathBuf::from(self.storage.directory.as_path()),
                options: Box::new(EmbeddedOptions {
                    max_attempts,
                    backoff: self.schedule(),
                    journal: JournalLimits {
                        max_age: Some(self.queue.journal_max_age),
                        max_bytes: Some(self.queue.journal_max_bytes),
                    },
                    ..EmbeddedOptions::default()
                }),
            });
        };
        let url = url.load().context("[queue] url_file")?;
        let uri = AmqpUri::parse(url.expose_secret()).context("[queue] url can't be used")?;
        let mut queue = AmqpOptions::new(uri);
        queue.prefix.clone_from(&self.queue.prefix);
        queue.partitions = self.queue.partitions;
        queue.ladder = self.queue.waits.iter().map(|wait| wait.0).collect();
        queue.max_attempts = max_attempts;
        queue.backoff = self.schedule();
        queue.journal.max_age = self.queue.journal_max_age;
        queue.journal.max_bytes = self.queue.journal_max_bytes;
        queue.validate().context("[queue] can't be used")?;
        let locks = match &self.locks.url {
            Some(url) => {
                let url = url.load().context("[locks] url_file")?;
                let uri = RedisUri::parse(url.expose_secret()).context("[locks] url can't be used")?;
                let mut locks = RedisOptions::new(uri);
                locks.prefix =
                    KeyPrefix::parse(&self.locks.prefix).context("[locks] prefix can't be used")?;
                locks.lease = self.locks.lease;
                locks.heartbeat = self.locks.heartbeat;
                locks.member_expiry = self.locks.expiry;
                locks.check().context("[locks] can't be used")?;
                Some(Box::new(locks))
            }
            None if which.executor => {
                bail!(
                    "executors of a fleet take their locks from Redis: give --locks redis://…, or set locks.url_file"
                )
            }
            None => None,
        };
        let seat = match &self.workers.name {
            Some(name) => Seat::parse(name).context("[workers] name can't be used")?,
            None => Seat::of_directory(self.storage.directory.as_path()),
        };
        Ok(Backend::Servers {
            queue: Box::new(queue),
            locks,
            seat,
        })
    }

    fn workers_of(&self, which: RoleSet, ingress: Option<&IngressConfig>) -> anyhow::Result<WorkersConfig> {
        let Some(github) = &self.github else {
            bail!("[github] is missing: token_file, or app_id with app_private_key_file");
        };
        let auth = auth(
            "github",
            github.token.as_ref(),
            github.app_id,
            github.app_private_key.as_ref(),
        )?;
        let is_app = matches!(auth, Auth::App { .. });
        let approver = match &github.approver {
            None => None,
            Some(approver) => {
                let auth = self::auth(
                    "github.approver",
                    approver.token.as_ref(),
                    approver.app_id,
                    approver.app_private_key.as_ref(),
                )?;
                let mut config = ForgeConfig::new(&github.api_url, auth);
                config.permissions = Permissions::approver();
                Some(config)
            }
        };
        // What was signed before there was a secret of its own is still believed.
        let mut marker_keys = Vec::new();
        let webhook = ingress.iter().flat_map(|ingress| &ingress.secrets);
        for secret in self.promotion.marker_secret.iter().chain(webhook) {
            marker_keys.push(MarkerKey::derive(secret.load()?.expose_secret().as_bytes()));
        }
        if marker_keys.is_empty() {
            bail!(
                "there is no key to sign lineage markers with: configure [promotion] marker_secret_file, or [webhook] secret_file"
            );
        }
        Ok(WorkersConfig {
            forge: ForgeConfig::new(&github.api_url, auth),
            approver,
            directory: PathBuf::from(self.storage.directory.as_path()),
            mirrors_max_bytes: self.storage.mirrors_max_bytes,
            plain_http: PlainHttp::Loopback,
            marker_keys,
            author: Identity {
                name: self.promotion.author_name.clone(),
                email: self.promotion.author_email.clone(),
            },
            merge_poll: self.promotion.merge_poll,
            previews: self.promotion.previews,
            max_attempts: self.queue.max_attempts.max(1),
            planners: which.planner.then_some(self.workers.planners),
            executors: which.executor.then_some(self.workers.executors),
            forwards: which.executor.then_some(self.workers.forwards),
            batch: self.workers.batch,
            sweep: is_app.then_some(github.sweep_every),
            outbound: self.outbound.load()?,
        })
    }
}

/// One identity: a token, or an App with its key. Neither, both, or half of one is an error that says so.
fn auth(
    section: &str,
    token: Option<&Secret>,
    id: Option<u64>,
    key: Option<&Secret>,
) -> anyhow::Result<Auth> {
    let load = |secret: &Secret, what: &str| secret.load().with_context(|| format!("[{section}] {what}"));
    Ok(match (token, id, key) {
        (Some(token), None, None) => Auth::Token(load(token, "token_file")?),
        (None, Some(id), Some(key)) => Auth::App {
            id,
            private_key_pem: load(key, "app_private_key_file")?,
        },
        (None, None, None) => {
            bail!("[{section}] needs an identity: token_file, or app_id with app_private_key_file")
        }
        (Some(_), _, _) => bail!("[{section}] has a token and an App; keep one of them"),
        _ => bail!("[{section}] needs both app_id and app_private_key_file for an App"),
    })
}
