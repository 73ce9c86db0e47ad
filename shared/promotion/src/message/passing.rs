//! Webhooks that are passed on to others, as they came.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Body, Envelope};
use crate::change::hex;
use crate::{BranchName, MessageId};

/// A push to the default branch. The planner finds out from the policy whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushV1 {
    /// The default branch. The policy counts that it has when the push is looked at, as in Telefonistka.
    pub branch: BranchName,
    /// The files that its commits add, change or remove, as the webhook lists them, each once and in that order.
    pub paths: Vec<String>,
    /// The webhook.
    pub original: Original,
}

/// A webhook to be passed on to one endpoint.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardV1 {
    /// The address that the policy names; it may be one that must not be called. Its path is often a secret.
    pub endpoint: String,
    /// The webhook.
    pub original: Original,
}

/// A webhook as it came: byte for byte, so that whoever knows the webhook's secret can verify it again. `Debug` leaves out what it says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// The headers that belong to it, such as its signature: names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body. It is JSON, or a form of JSON, and so it is text.
    pub body: String,
}

impl ForwardV1 {
    /// The message that has a push passed on to one endpoint. Its id is that of the push and of the endpoint, so that one that waits stands for
    /// its copies; it tells the hash of the address, not the address.
    #[must_use]
    pub fn message(cause: &Envelope, push: &PushV1, endpoint: String) -> Envelope {
        let address = hex(&Sha256::digest(&endpoint));
        let id = MessageId::of(&[
            "forward",
            cause.id.as_str(),
            address.get(..16).unwrap_or_default(),
        ]);
        let forward = Self {
            endpoint,
            original: push.original.clone(),
        };
        cause.follow(id, Body::Forward(Box::new(forward)))
    }
}

impl fmt::Debug for ForwardV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardV1")
            .field("original", &self.original)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Original")
            .field("headers", &names)
            .field("bytes", &self.body.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_is_not_shown() {
        let original = Original {
            headers: vec![("x-hub-signature-256".to_owned(), "sha256=beef".to_owned())],
            body: "Tr0ub4dor".to_owned(),
        };
        let forward = ForwardV1 {
            endpoint: "https://hooks.example.com/s3cret".to_owned(),
            original,
        };
        let shown = format!("{forward:?}");
        for hidden in ["beef", "Tr0ub4dor", "s3cret"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}
