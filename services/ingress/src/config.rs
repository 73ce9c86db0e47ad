//! What the ingress can be told.

use std::time::Duration;

use lockflight_runtime::Secret;
use lockflight_runtime::config::duration;
use serde::Deserialize;

use crate::IngressError;

/// GitHub's own cap on a delivery: <https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap>.
const MAX_BODY: usize = 25 * 1024 * 1024;

/// The `[webhook]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct WebhookConfig {
    /// The secret that GitHub signs with; in a file, as `secret_file`.
    pub secret: Secret,
    /// The secret before, which is still accepted while it is being replaced; in a file, as `previous_secret_file`.
    #[serde(default)]
    pub previous_secret: Option<Secret>,
    /// Where GitHub sends deliveries. Default: `/webhook`.
    #[serde(default = "default_path")]
    pub path: String,
    /// How long the queue may take to confirm. GitHub itself gives up after ten seconds. Default: `4s`.
    #[serde(default = "default_publish_timeout", with = "duration")]
    pub publish_timeout: Duration,
}

fn default_path() -> String {
    "/webhook".to_owned()
}

const fn default_publish_timeout() -> Duration {
    Duration::from_secs(4)
}

/// Everything that the ingress needs to know.
#[derive(Clone, Debug)]
pub struct IngressConfig {
    /// One secret, or two during a rotation. Their files are read again as they change.
    pub secrets: Vec<Secret>,
    /// Where GitHub sends deliveries.
    pub path: String,
    /// The longest body that is taken, in bytes.
    pub max_body: usize,
    /// How many deliveries may be in hand at once.
    pub max_in_flight: usize,
    /// How many bytes of bodies may be in memory at once.
    pub max_buffered: usize,
    /// How long a body may take to arrive.
    pub read_timeout: Duration,
    /// How long the queue may take to confirm.
    pub publish_timeout: Duration,
    /// Whether pushes to the default branch go to a planner, since a policy may have them passed on to others.
    pub forwards: bool,
}

impl IngressConfig {
    /// The usual limits, and these secrets.
    #[must_use]
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self {
            secrets,
            path: default_path(),
            max_body: MAX_BODY,
            max_in_flight: 256,
            max_buffered: 4 * MAX_BODY,
            read_timeout: Duration::from_secs(10),
            publish_timeout: default_publish_timeout(),
            forwards: false,
        }
    }

    /// Finds out whether the configuration makes sense. The secrets are not read.
    ///
    /// # Errors
    /// When there is not one secret or two, the path can't be served, or the limits contradict each other.
    pub fn check(&self) -> Result<(), IngressError> {
        if !(1..=2).contains(&self.secrets.len()) {
            return Err(IngressError::Secrets(self.secrets.len()));
        }
        let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        if !self.path.starts_with('/')
            || !self.path.bytes().all(letters)
            || ["/healthz", "/readyz"].contains(&self.path.as_str())
        {
            return Err(IngressError::Path(self.path.clone()));
        }
        if self.max_buffered < self.max_body {
            return Err(IngressError::Memory {
                max_body: self.max_body,
                max_buffered: self.max_buffered,
            });
        }
        Ok(())
    }
}

impl From<WebhookConfig> for IngressConfig {
    fn from(section: WebhookConfig) -> Self {
        let mut secrets = vec![section.secret];
        secrets.extend(section.previous_secret);
        Self {
            path: section.path,
            publish_timeout: section.publish_timeout,
            ..Self::new(secrets)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_can_not_work_is_refused_at_the_start() {
        let good = IngressConfig::new(vec![Secret::from_file("/run/secret")]);
        assert!(good.check().is_ok());
        for path in ["", "webhook", "/{id}", "/*rest", "/a b", "/healthz"] {
            let bad = IngressConfig {
                path: path.to_owned(),
                ..good.clone()
            };
            assert!(matches!(bad.check(), Err(IngressError::Path(_))), "{path:?}");
        }
        for count in [0, 3] {
            let bad = IngressConfig {
                secrets: vec![Secret::from_file("/run/secret"); count],
                ..good.clone()
            };
            assert!(matches!(bad.check(), Err(IngressError::Secrets(_))), "{count}");
        }
        let bad = IngressConfig {
            max_buffered: 10,
            ..good
        };
        assert!(matches!(bad.check(), Err(IngressError::Memory { .. })));
    }
}
