//! The configuration of `lockflight serve`. `docs/configuration.md` lists every key.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lockflight_fleet::Schedule;
use lockflight_fleet::embedded::EmbeddedOptions;
use lockflight_forge::{Auth, ForgeConfig, Permissions};
use lockflight_git::{Identity, PlainHttp};
use lockflight_ingress::{IngressConfig, WebhookConfig};
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_runtime::Secret;
use lockflight_runtime::config::{FilePath, duration};
use lockflight_runtime::http::HttpConfig;
use lockflight_runtime::telemetry::LogConfig;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::roles::RolesConfig;

/// All of it. Unknown keys are errors.
#[derive(Debug, Deserialize)]
pub(crate) struct ServeConfig {
    #[serde(default)]
    pub(crate) http: HttpConfig,
    #[serde(default)]
    pub(crate) log: LogConfig,
    github: GithubConfig,
    webhook: WebhookConfig,
    #[serde(default)]
    storage: StorageConfig,
    #[serde(default)]
    promotion: PromotionConfig,
    #[serde(default)]
    queue: QueueConfig,
    #[serde(default)]
    workers: WorkersConfig,
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
}

/// `[queue]`: how failures are tried again.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct QueueConfig {
    max_attempts: u32,
    #[serde(with = "duration")]
    first_retry: Duration,
    #[serde(with = "duration")]
    longest_retry: Duration,
}

/// `[workers]`: how much is done at the same time.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct WorkersConfig {
    planners: usize,
    executors: usize,
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
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        let schedule = Schedule::production();
        Self {
            max_attempts: EmbeddedOptions::default().max_attempts,
            first_retry: schedule.initial,
            longest_retry: schedule.max,
        }
    }
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self {
            planners: 4,
            executors: 8,
        }
    }
}

impl ServeConfig {
    /// What the roles need, with all secrets read.
    pub(crate) fn roles(self) -> anyhow::Result<RolesConfig> {
        let github = &self.github;
        let auth = auth(
            "github",
            github.token.as_ref(),
            github.app_id,
            github.app_private_key.as_ref(),
        )?;
        let is_app = matches!(auth, Auth::App { .. });
        let forge = ForgeConfig::new(&github.api_url, auth);
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
        let ingress = IngressConfig::from(self.webhook);
        // What was signed before there was a secret of its own is still believed.
        let mut marker_keys = Vec::new();
        for secret in self.promotion.marker_secret.iter().chain(&ingress.secrets) {
            marker_keys.push(MarkerKey::derive(secret.load()?.expose_secret().as_bytes()));
        }
        let schedule = Schedule {
            initial: self.queue.first_retry,
            max: self.queue.longest_retry.max(self.queue.first_retry),
            ..Schedule::production()
        };
        Ok(RolesConfig {
            ingress,
            forge,
            approver,
            directory: PathBuf::from(self.storage.directory.as_path()),
            plain_http: PlainHttp::Loopback,
            marker_keys,
            author: Identity {
                name: self.promotion.author_name,
                email: self.promotion.author_email,
            },
            merge_poll: self.promotion.merge_poll,
            fleet: EmbeddedOptions {
                max_attempts: self.queue.max_attempts.max(1),
                backoff: schedule,
                ..EmbeddedOptions::default()
            },
            sweep: is_app.then_some(github.sweep_every),
            planners: self.workers.planners,
            executors: self.workers.executors,
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
