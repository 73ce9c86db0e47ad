//! Messages as bytes: JSON, and what to make of bytes that can't be read.

use lockflight_promotion::message::{ENVELOPE_VERSION, Envelope};
use lockflight_promotion::{MessageId, RepoId};
use serde::Deserialize;

use crate::{Work, failpoint};

/// A message as it was found: most are envelopes, a few can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It could be read.
    Envelope(Box<Envelope>),
    /// It is an envelope, but of a version or with a body that this program does not know. A newer one may.
    Newer {
        /// The bytes as they came.
        bytes: Vec<u8>,
        /// What was not understood, for people.
        reason: String,
    },
    /// It is no envelope at all, and never will be.
    Malformed {
        /// The bytes as they came.
        bytes: Vec<u8>,
        /// What is wrong with them, for people.
        reason: String,
    },
}

impl Content {
    /// The envelope, if it could be read.
    #[must_use]
    pub fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Envelope(envelope) => Some(envelope),
            Self::Newer { .. } | Self::Malformed { .. } => None,
        }
    }

    /// Reads bytes. What has the outline of an envelope (JSON with a number `v` and a text `body.type`) but can't be read counts
    /// as newer, never as malformed: a newer writer may have added a field or a kind.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let reason = match serde_json::from_slice::<Envelope>(bytes) {
            Ok(envelope)
                if envelope.v == ENVELOPE_VERSION && !failpoint::is_unknown(|| envelope.routing_key()) =>
            {
                return Self::Envelope(Box::new(envelope));
            }
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        let bytes = bytes.to_vec();
        match serde_json::from_slice::<Outline>(&bytes) {
            Ok(outline) => {
                let detail = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                Self::Newer {
                    reason: format!(
                        "this version of Lockflight can't read the message (envelope version {}, body {:?}){detail}; run a newer one",
                        outline.v, outline.body.r#type
                    ),
                    bytes,
                }
            }
            Err(error) => Self::Malformed {
                reason: format!("the message is not an envelope: {error}"),
                bytes,
            },
        }
    }
}

/// The fields by which an envelope of any version is known.
#[derive(Deserialize)]
struct Outline {
    v: u64,
    body: OutlineBody,
}

#[derive(Deserialize)]
struct OutlineBody {
    r#type: String,
}

/// A message ready to be stored: what the queue has to know of it, and its bytes.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) work: Option<Work>,
    pub(crate) repo: RepoId,
    pub(crate) id: MessageId,
    /// Whether the journal keeps it.
    pub(crate) journaled: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Encoded {
    pub(crate) fn new(envelope: &Envelope) -> Result<Self, serde_json::Error> {
        Ok(Self {
            work: Work::of(envelope),
            repo: envelope.repo.id,
            id: envelope.id.clone(),
            journaled: envelope.is_journaled(),
            bytes: serde_json::to_vec(envelope)?,
        })
    }

    pub(crate) fn all(envelopes: &[Envelope]) -> Result<Vec<Self>, serde_json::Error> {
        envelopes.iter().map(Self::new).collect()
    }
}
