//! Gates: what must hold before a flow goes on from one wave to the next, and freezes: when nothing may go into an environment.
//!
//! These are what a policy asks for, and they travel in messages. Reading them is the work of others; a gate that can't be read is closed.

pub mod cron;
pub mod freeze;

use serde::{Deserialize, Serialize};

pub use cron::{Cron, InvalidCron};

/// What must hold, beside that all steps of a wave are merged, before what comes after it may begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gates {
    /// Who has to approve each pull request of the wave, beyond what the forge's own rules ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// How long the wave has to stand after the merge of its last step, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_s: Option<u64>,
    /// Commit statuses or check runs, by name, that have to succeed on the commit of each merged step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// Answers of servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGate>,
    /// Measurements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prometheus: Vec<PrometheusGate>,
}

impl Gates {
    /// Whether nothing is asked for.
    #[must_use]
    pub const fn are_none(&self) -> bool {
        self.approvals.is_none()
            && self.soak_s.is_none()
            && self.checks.is_empty()
            && self.http.is_empty()
            && self.prometheus.is_empty()
    }
}

/// Who has to approve the head of a pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// How many people, at least 1. The author of the change and Lockflight itself do not count.
    pub count: u32,
    /// Teams of the organisation, by slug: those who count are members of one of them. None named, anybody counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
    /// Whether an owner of each changed file, by the CODEOWNERS of the target, has to be among them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub code_owners: bool,
}

/// A server that is asked, and the answer that opens the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGate {
    /// What the policy calls it.
    pub name: String,
    /// The address that is read with GET.
    pub url: String,
    /// Where in the JSON of the answer the value stands: a JSON pointer, RFC 6901.
    pub pointer: String,
    /// What the value has to be.
    pub expect: Expectation,
    /// How often it is asked, in seconds.
    pub every_s: u64,
}

/// A measurement of Prometheus, and the threshold that opens the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrometheusGate {
    /// What the policy calls it.
    pub name: String,
    /// The server's address, up to what stands before `/api/v1`.
    pub url: String,
    /// The query, in which `$window` stands for the window.
    pub query: String,
    /// What every sample has to be.
    pub expect: Expectation,
    /// What `$window` becomes, in seconds.
    pub window_s: u64,
    /// How often it is asked, in seconds.
    pub every_s: u64,
}

/// What a value has to be. Numbers are kept as they were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Equal to this text, number or truth.
    Equals(serde_json::Value),
    /// A number below this.
    Below(serde_json::Number),
    /// A number of at most this.
    AtMost(serde_json::Number),
    /// A number above this.
    Above(serde_json::Number),
    /// A number of at least this.
    AtLeast(serde_json::Number),
}

/// A time in which nothing is opened towards an environment, and nothing merged there by Lockflight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// When it begins: five fields of cron.
    pub cron: String,
    /// How long it lasts, in seconds.
    pub duration_s: u64,
    /// The time zone of `cron`, by its IANA name.
    pub time_zone: String,
    /// Why, for people.
    pub reason: String,
}
